"""The replay of an account's history agrees with the ledger; where the ledger was altered, it names the difference."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from credit_contracts.incoming import CreditsPurchased
from credit_service.domain.audit.differences import compared
from credit_service.domain.audit.history import History, RecordedAccount, RecordedPlan, is_time_known
from credit_service.domain.command import Adjust, Command, DecideRefund, OpenPurchase
from credit_service.domain.decide import decide
from credit_service.domain.decision import Adjustment, DecidedRequest, Decision
from credit_service.domain.event import Incoming, Wake
from credit_service.domain.rules import Rules
from property.histories import DAY, START, Item, data_of, histories, ordered_about, rules
from support.domain import NOW, event
from support.examples import examples
from support.rows import Rows
from support.small_bounds import small_bounds

if TYPE_CHECKING:
    from collections.abc import Sequence


def taken(items: Sequence[Item], with_rules: Rules, sizes: Sequence[int], as_it_stands: Sequence[bool] = ()) -> Rows:
    """What is stored after batches of these sizes, each at an instant of its own.

    A batch of one is decided without timers if `as_it_stands`, by the number of the batch, is true.
    """
    rows, now, left = Rows(), NOW, list(items)
    for number, size in enumerate([*sizes, *[3] * len(items)]):
        batch, left = left[:size], left[size:]
        if not batch:
            break
        now += timedelta(minutes=1)
        is_as_it_stands = len(batch) == 1 and number < len(as_it_stands) and as_it_stands[number]
        _take(rows, batch, replace(with_rules, runs_timers=False) if is_as_it_stands else with_rules, now)
    while lagging := sorted(name for name, row in rows.accounts.items() if row["parked"] and row["period"]):
        now += timedelta(minutes=1)
        _take(rows, [Wake(name, START, 0) for name in lagging], with_rules, now)
    return rows


def _take(rows: Rows, batch: Sequence[Item], with_rules: Rules, now: Any) -> None:
    accounts = rows.load(batch, unparked_max=with_rules.unparked_max)
    rows.store(accounts.values(), decide(accounts, batch, now, with_rules))


def history_of(name: str, rows: Rows, items: Sequence[Item]) -> History:
    """The history of an account as the tables keep it: not all fields of its events."""
    row: dict[str, Any] = rows.accounts[name]
    calendar, period = row["calendar"], row["period"]
    recorded = RecordedAccount(
        **{
            key: row[key]
            for key in (
                "balance unlimited sequence position last_grant_id plan_position granted_in_period "
                "declined_in_period next_timer_at parked"
            ).split()
        },
        anchor_at=calendar.anchor_at if calendar else None,
        time_zone=calendar.time_zone if calendar else None,
        period_number=period.number if period else None,
    )
    history = History(name, recorded)
    data_of_keys = {
        (i.key, i.content): i.data for i in items if isinstance(i, Incoming | Command) and i.account_id == name
    }
    for (owner, position), decision in rows.decisions.items():
        if owner != name:
            continue
        history.decisions[position] = decision
        match data_of_keys.get((decision.key, decision.content)):
            case CreditsPurchased(purchase_id=purchase_id) if decision.outcome == "purchased":
                history.purchases[position] = purchase_id
            case OpenPurchase(purchase_id=purchase_id):
                history.purchases[position] = purchase_id
            case DecideRefund(charge_sequence=charge, is_approved=approved, operator=operator, reason=reason):
                status = "approved" if approved else "rejected"
                history.requests[position] = DecidedRequest(name, charge, status, position, operator, reason)  # type: ignore[arg-type] # one of the two
            case Adjust(amount, expires_at, operator, reason):
                history.adjustments[position] = Adjustment(name, position, amount, expires_at, operator, reason)
    history.changes = {change.sequence: change for change in rows.changes if change.account_id == name}
    history.grants = {grant_id: grant for (owner, grant_id), grant in rows.grants.items() if owner == name}
    history.plans = {
        position: RecordedPlan(p.plan_id, p.monthly_credits, p.seats, p.email_accounts, p.effective_at)
        for (owner, position), p in rows.plans.items()
        if owner == name
    }
    return history


@given(ordered_about(histories()), rules(), st.lists(st.booleans(), min_size=40, max_size=40))
@settings(max_examples=examples(300))
def test_what_was_decided_as_it_stood_comes_to_itself(
    items: list[Item], with_rules: Rules, as_it_stands: list[bool]
) -> None:
    rows = taken(items, with_rules, [1] * len(items), as_it_stands)
    for name in rows.accounts:
        assert compared(history_of(name, rows, items), with_rules)[1] == []


ages = st.sampled_from([1, 2, 24])
sizes = st.lists(st.integers(1, 6), max_size=30)


@given(ordered_about(histories(written_late=True)), rules(), sizes, ages, ages)
@settings(max_examples=examples(300))
def test_a_history_comes_to_itself(
    items: list[Item], with_rules: Rules, batches: list[int], age_then: int, age_now: int
) -> None:
    """Also after the setting for old first plans has changed: where an account began is recorded."""
    then = replace(with_rules, first_plan_age_months_max=age_then)
    assert_comes_to_itself(items, then, batches, replace(with_rules, first_plan_age_months_max=age_now))


def assert_comes_to_itself(
    items: Sequence[Item], with_rules: Rules, batches: Sequence[int], by_rules: Rules | None = None
) -> None:
    rows = taken(items, with_rules, batches)
    with_rules = by_rules or with_rules
    for name in rows.accounts:
        history = history_of(name, rows, items)
        recomputed, disagree = compared(history, with_rules)
        assert disagree == []
        kept = {pid: rows.prospect(owner, pid) for owner, pid in rows.prospects if owner == name}
        made = recomputed.account.prospects
        assert {pid: p for pid, p in kept.items() if p.history or p.charges or p.closed_until} == {
            pid: p for pid, p in made.items() if p.history or p.charges or p.closed_until
        }


@given(ordered_about(histories()), rules(), sizes)
@settings(max_examples=examples(300))
def test_a_history_of_which_much_is_forgotten_comes_to_itself(
    items: list[Item], with_rules: Rules, batches: list[int]
) -> None:
    with small_bounds(HISTORY_MAX=1):
        assert_comes_to_itself(items, with_rules, batches)


@pytest.mark.parametrize(("age_then", "age_now"), [(1, 24), (24, 1)])
def test_where_an_account_began_stays_as_it_was_decided(age_then: int, age_now: int) -> None:
    plan = data_of("acme", "plan", "", START, 5, None)
    items: list[Item] = [event(plan, START, "first", appended_at=START + timedelta(days=100))]
    rows = taken(items, Rules(first_plan_age_months_max=age_then), [])

    recomputed, disagree = compared(history_of("acme", rows, items), Rules(first_plan_age_months_max=age_now))
    assert disagree == []
    assert recomputed.account.period == rows.accounts["acme"]["period"]


def test_of_two_plans_for_later_one_takes_effect_before_an_older_plan_comes_and_one_after() -> None:
    """Found by chaos: that a plan took effect by itself, and gave nothing, is recorded nowhere."""

    def plan(name: str, at_day: float, limit: int, effective_days: float | None = None) -> Item:
        at = START + at_day * DAY
        return event(data_of("acme", "plan", "", at, limit, effective_days), at, name)

    items = [
        plan("first", 0, 9),
        plan("for later", 1, 8, 9),
        plan("older, while that waits", 5, 7),
        event(data_of("acme", "generate", "ann", START, None, None), START + 12 * DAY, "takes it in"),
        plan("for later again", 13, 6, 7),
        Wake("acme", START + 25 * DAY, 10),
        plan("older than that", 15, 5),
    ]
    rows = taken(items, Rules(), [1] * len(items))
    outcomes = [d.outcome for d in rows.decisions.values() if d.type == "plan-changed"]
    assert outcomes == ["plan-in-force", "plan-pending", "plan-in-force", "plan-pending", "plan-superseded"]
    assert compared(history_of("acme", rows, items), Rules())[1] == []


def test_a_plan_that_the_one_in_force_supersedes_says_nothing_of_one_for_later() -> None:
    def plan(name: str, at_day: float, limit: int, effective_days: float | None = None) -> Item:
        at = START + at_day * DAY
        return event(data_of("acme", "plan", "", at, limit, effective_days), at, name)

    items = [
        plan("first", 0, 9),
        plan("second", 2, 8),
        plan("for later", 3, 7, 7),
        plan("older than the second", 1, 6),
        plan("older than the one for later", 5, 5),
    ]
    rows = taken(items, Rules(), [1] * len(items))
    outcomes = [d.outcome for d in rows.decisions.values() if d.type == "plan-changed"]
    assert outcomes == ["plan-in-force", "plan-in-force", "plan-pending", "plan-superseded", "plan-in-force"]
    assert compared(history_of("acme", rows, items), Rules())[1] == []


@given(histories(wakes=False), rules(), sizes, st.data())
@settings(max_examples=examples(150))
def test_what_is_lost_or_altered_is_named(
    items: list[Item], with_rules: Rules, batches: list[int], data: st.DataObject
) -> None:
    rows = taken(items, with_rules, batches)
    names = [name for name, row in rows.accounts.items() if row["sequence"]]
    if not names:
        return
    history = history_of(data.draw(st.sampled_from(names)), rows, items)
    sequence = data.draw(st.sampled_from(sorted(history.changes)))
    lost = history.changes.pop(sequence)
    expected = [("entry-missing", sequence)]
    assert [(d.kind, d.number) for d in compared(history, with_rules)[1]] == expected

    history.changes[sequence] = lost
    history.changes = dict(sorted(history.changes.items()))
    history.row = replace(history.row, balance=history.row.balance + 1)
    assert [(d.kind, d.number) for d in compared(history, with_rules)[1]] == [("balance-differs", 0)]


def can_be_decided_again(history: History, lost: Decision) -> bool:
    """The entries of a pending plan do not have the time of its decision: they came when it took effect."""
    return lost.place is None or (is_time_known(history, lost.position) and lost.outcome != "plan-pending")


@given(histories(wakes=False), rules(), sizes, st.data())
@settings(max_examples=examples(150))
def test_a_lost_decision_is_made_again_from_its_message(
    items: list[Item], with_rules: Rules, batches: list[int], data: st.DataObject
) -> None:
    rows = taken(items, with_rules, batches)
    if not rows.accounts:
        return
    history = history_of(data.draw(st.sampled_from(sorted(rows.accounts))), rows, items)
    positions = [position for position, lost in history.decisions.items() if can_be_decided_again(history, lost)]
    if not positions:
        return
    position = data.draw(st.sampled_from(positions))
    lost = history.decisions.pop(position)
    if lost.place is None:
        # A timer runs again by itself.
        recomputed, disagree = compared(history, with_rules)
        if recomputed.stopped_at is None:
            assert [(d.kind, d.number) for d in disagree] == [("decision-missing", position)]
            assert recomputed.decisions[position].outcome == lost.outcome
        return
    found = next(i for i in items if isinstance(i, Incoming) and (i.key, i.content) == (lost.key, lost.content))
    recomputed, disagree = compared(history, with_rules, {position: found})
    assert [(d.kind, d.number) for d in disagree] == [("decision-missing", position)]
    made = recomputed.decisions[position]
    assert (made.outcome, made.key, made.content) == (lost.outcome, lost.key, lost.content)
    _, disagree = compared(history, with_rules)
    assert ("decision-missing", position) in [(d.kind, d.number) for d in disagree]
