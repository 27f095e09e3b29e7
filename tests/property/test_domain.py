"""Invariants of every history."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from credit_contracts.incoming import PlanChanged
from credit_service.domain.catch_up import TimerBounds, next_portion
from credit_service.domain.decide import decide
from credit_service.domain.event import Incoming, Wake
from credit_service.domain.published import balance_changed, insufficient_credits
from credit_service.domain.rules import Rules
from property.histories import (
    START,
    Item,
    ample_months,
    histories,
    interleaved,
    limits,
    ordered_about,
    rules,
)
from support.domain import NOW, Story
from support.examples import examples
from support.published import read_back
from support.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from credit_service.domain.decision import Change, Decision
    from credit_service.domain.prospect import Prospect

Items = list[Incoming | Wake]


def take(rows: Rows, items: Sequence[Item], with_rules: Rules) -> None:
    """One batch: load, decide, store."""
    accounts = rows.load(items, unparked_max=with_rules.unparked_max)
    rows.store(accounts.values(), decide(accounts, items, NOW, with_rules))


def taken(batches: Sequence[Sequence[Item]], with_rules: Rules) -> Rows:
    """What is stored after `batches`, each loaded anew."""
    rows = Rows()
    for items in batches:
        take(rows, items, with_rules)
    return settled(rows, with_rules)


def settled(rows: Rows, with_rules: Rules) -> Rows:
    """The rows once no account with a plan has parked events."""
    while lagging := sorted(name for name, row in rows.accounts.items() if row["parked"] and row["period"]):
        take(rows, [Wake(name, START, 0) for name in lagging], with_rules)
    return rows


def outcome(rows: Rows) -> tuple[object, ...]:
    """All that is stored, without the places in Kafka."""
    by_account = defaultdict(list)
    for change in rows.changes:
        by_account[change.account_id].append(change)
    return (
        rows.accounts,
        {at: replace(decision, place=None) for at, decision in rows.decisions.items()},
        dict(by_account),
        rows.grants,
        rows.prospects,
        rows.plans,
        rows.pending,
        set(rows.parked),
        rows.purchases,
        rows.requests,
        rows.adjustments,
    )


def plans_in_force(rows: Rows) -> dict[str, object]:
    return {name: account["plan_position"] for name, account in rows.accounts.items() if account["plan_position"]}


def check(rows: Rows) -> None:
    """The invariants of the ledger."""
    for name, account in rows.accounts.items():
        changes = [change for change in rows.changes if change.account_id == name]
        grants = [grant for (owner, _), grant in rows.grants.items() if owner == name]
        decisions = [decision for (owner, _), decision in rows.decisions.items() if owner == name]
        lines = [line for change in changes for line in change.lines]

        held = sum(grant.remaining for grant in grants if grant.is_open)
        assert account["balance"] == held == sum(amount for _, amount in lines)
        assert held >= 0
        for grant in grants:
            assert grant.remaining == sum(amount for grant_id, amount in lines if grant_id == grant.grant_id)
            assert 0 <= grant.remaining <= grant.amount

        assert [change.sequence for change in changes] == list(range(1, len(changes) + 1))
        assert account["sequence"] == len(changes)
        assert [decision.position for decision in decisions] == list(range(1, len(decisions) + 1))
        assert account["position"] == len(decisions)
        assert {change.cause.position for change in changes} <= {decision.position for decision in decisions}

        check_changes(changes)
        check_refunds(changes, decisions)
        adjusted = {d.position: d for d in decisions if d.outcome == "adjusted"}
        kept = {position: a.amount for (owner, position), a in rows.adjustments.items() if owner == name}
        assert kept == {c.cause.position: c.delta for c in changes if c.reason == "adjustment"}
        assert kept.keys() == adjusted.keys()

        renewals = Counter(decision.occurred_at for decision in decisions if decision.type == "renewal")
        assert all(times == 1 for times in renewals.values())

    for name, prospect_id in rows.prospects:
        check_prospect(rows.prospect(name, prospect_id))
    for (name, charge_sequence), request in rows.requests.items():
        if request.status == "waiting":
            prospect = rows.prospect(name, request.prospect_id)
            charges_known = {charge.sequence: charge for charge in prospect.charges}
            # Only the request knows a charge of a closed stay.
            assert prospect.closed_until is not None or not charges_known[charge_sequence].is_settled


def check_changes(changes: Sequence[Change]) -> None:
    """Each change begins with the balance at which the one before it ended."""
    assert [c.previous_balance for c in changes] == [0, *(c.balance for c in changes)][: len(changes)]
    for change in changes:
        if change.previous_balance is not None and change.balance is not None:
            assert change.balance - change.previous_balance == change.delta
        assert change.delta or change.reason in ("charge", "refund", "plan_change", "opening")


def check_refunds(changes: Sequence[Change], decisions: Sequence[Decision]) -> None:
    """Each charge is refunded once at most; a decision refunds once, and once more for each delete that came late."""
    refunds = Counter(change.refunds_sequence for change in changes if change.reason == "refund")
    charges = {change.sequence for change in changes if change.reason == "charge"}
    opened = {-d.position for d in decisions if d.type == "opening" and d.prospect_id and d.note != "imported"}
    assert all(times == 1 for times in refunds.values())
    assert refunds.keys() <= charges | opened
    given_back = Counter(change.cause.position for change in changes if change.reason == "refund")
    for decision in (d for d in decisions if d.outcome == "refunded"):
        deleted_after = [
            d.position
            for d in decisions
            if d.type == "prospect-deleted" and d.prospect_id == decision.prospect_id and d.position > decision.position
        ]
        assert 1 <= given_back[decision.position] <= 1 + len(deleted_after)


def check_prospect(prospect: Prospect) -> None:
    """Each stay that costs a credit is charged once; each charge that is not refunded belongs to such a stay."""
    stays = prospect.stays()
    kept = [charge for charge in prospect.charges if not prospect.is_closed_at(charge.at)]
    borne = [charge.sequence for charge in kept if not charge.is_settled]
    charged = [charge.sequence for stay in stays if (charge := prospect.charge_of(stay)) is not None]
    assert len(charged) == len(set(charged))
    assert all(prospect.charge_of(stay) is not None for stay in stays if stay.origin != "imported")
    assert set(borne) <= set(charged)
    assert len(borne) <= sum(stay.origin != "imported" and stay.bounce is None for stay in stays)


@given(histories(), rules())
@settings(max_examples=examples(150))
def test_the_ledger_is_whole_after_every_step(items: Items, with_rules: Rules) -> None:
    rows = Rows()
    for item in items:
        take(rows, [item], with_rules)
        check(rows)


@given(histories(), rules(), st.data())
@settings(max_examples=examples(150))
def test_the_same_key_twice_is_once(items: Items, with_rules: Rules, data: st.DataObject) -> None:
    repeated = list(items)
    for index in data.draw(st.lists(st.integers(0, len(items) - 1), max_size=8)) if items else []:
        first = next(i for i, item in enumerate(repeated) if item is items[index])
        if isinstance(items[index], Incoming):
            repeated.insert(data.draw(st.integers(first + 1, len(repeated))), items[index])

    assert outcome(taken([repeated], with_rules)) == outcome(taken([items], with_rules))


@given(histories(), rules(), st.data())
@settings(max_examples=examples(200))
def test_two_batches_are_one(items: Items, with_rules: Rules, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(items)))

    assert outcome(taken([items[:cut], items[cut:]], with_rules)) == outcome(taken([items], with_rules))


@given(ordered_about(histories()), rules(), st.data())
@settings(max_examples=examples(150))
def test_two_batches_are_one_also_with_orders_of_people(
    items: list[Item], with_rules: Rules, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(items)))
    halves, whole = taken([items[:cut], items[cut:]], with_rules), taken([items], with_rules)

    check(whole)
    assert outcome(halves) == outcome(whole)


@given(ordered_about(histories(wakes=False)), st.sampled_from([1, 2, 3]).flatmap(rules))
@settings(max_examples=examples(150))
def test_the_ledger_is_whole_also_where_people_order_while_events_wait(items: list[Item], with_rules: Rules) -> None:
    rows = Rows()
    for item in items:
        take(rows, [item], with_rules)
        check(rows)


@given(histories(), rules())
@settings(max_examples=examples(100))
def test_a_batch_an_event_is_one_batch(items: Items, with_rules: Rules) -> None:
    assert outcome(taken([[item] for item in items], with_rules)) == outcome(taken([items], with_rules))


@given(histories(wakes=False), st.sampled_from([1, 2, 3]).flatmap(rules), st.data())
@settings(max_examples=examples(150))
def test_two_batches_are_one_also_while_events_wait(items: Items, with_rules: Rules, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(items)))
    halves, whole = taken([items[:cut], items[cut:]], with_rules), taken([items], with_rules)

    check(whole)
    assert outcome(halves) == outcome(whole)


@given(histories(wakes=False), rules())
@settings(max_examples=examples(100))
def test_what_waited_ends_as_if_it_had_come_in_order_behind_the_first_plan(items: Items, with_rules: Rules) -> None:
    """For each account: its first plan, then what came before it in order of occurrence, then the rest as it came."""
    events = [item for item in items if isinstance(item, Incoming)]
    in_order = []
    for name in ("acme", "bolt"):
        own = [e for e in events if e.account_id == name]
        # Of a key that came twice, the first is the one that counts.
        seen = {e.key: e for e in reversed(own)}
        own = [e for e in own if seen[e.key] is e]
        first = next((i for i, e in enumerate(own) if isinstance(e.data, PlanChanged)), None)
        if first is not None:
            in_order += [own[first], *sorted(own[:first], key=lambda e: e.order), *own[first + 1 :]]
    rows, expected = taken([events], with_rules), taken([in_order], with_rules)

    assert outcome(rows)[1:5] == outcome(expected)[1:5]
    assert plans_in_force(rows) == plans_in_force(expected)


@given(histories(wakes=False, late=False, reused_ids=False), rules(), st.data())
@settings(max_examples=examples(150))
def test_timers_may_come_of_themselves_or_with_the_next_event(
    items: Items, with_rules: Rules, data: st.DataObject
) -> None:
    woken: Items = []
    for item in items:
        assert isinstance(item, Incoming)
        if data.draw(st.booleans()):
            just_before = item.occurred_at - timedelta(microseconds=1)
            woken.append(Wake(item.account_id, just_before, data.draw(st.integers(1, 3))))
        woken.append(item)

    assert outcome(taken([woken], with_rules)) == outcome(taken([items], with_rules))


timer_bounds = st.builds(TimerBounds, st.integers(1, 4), st.integers(1, 3))


@given(histories(), rules(), timer_bounds, st.data())
@settings(max_examples=examples(200))
def test_the_size_of_batches_does_not_show(
    items: Items, with_rules: Rules, bounds: TimerBounds, data: st.DataObject
) -> None:
    """However the events are cut into batches, and however few timers one transaction runs.

    A wake is a batch of its own, as in the service: it runs a number of timers, not those up to an event.
    """
    rows = Rows()
    left = items
    while left:
        before_a_wake = next((n for n, item in enumerate(left) if isinstance(item, Wake)), len(left))
        size = data.draw(st.integers(1, before_a_wake or 1), label="batch")
        take_in_portions(rows, left[:size], with_rules, bounds)
        left = left[size:]

    assert outcome(settled(rows, with_rules)) == outcome(taken([[item] for item in items], with_rules))


def take_in_portions(rows: Rows, items: Sequence[Item], with_rules: Rules, bounds: TimerBounds) -> None:
    """One batch as the application decides it."""
    while items:
        accounts = rows.load(items, unparked_max=with_rules.unparked_max)
        portion = next_portion(accounts, items, NOW, bounds)
        before = {name: row["next_timer_at"] for name, row in rows.accounts.items()}
        take(rows, portion.inputs, with_rules)
        # Wakes without an effect would be repeated for ever.
        assert portion.taken or before != {name: row["next_timer_at"] for name, row in rows.accounts.items()}
        items = items[portion.taken :]


@given(histories(), rules())
@settings(max_examples=examples(100))
def test_a_period_never_grants_more_than_the_highest_plan(items: Items, with_rules: Rules) -> None:
    rows = taken([items], with_rules)
    granted: Counter[tuple[str, object]] = Counter()
    for change in rows.changes:
        if change.reason in ("plan_change", "renewal"):
            granted[change.account_id, change.period_ends_at] += change.delta
    highest: dict[str, int] = {}
    for (name, _), plan in rows.plans.items():
        highest[name] = max(highest.get(name, 0), plan.allowance)

    assert all(amount <= highest[name] for (name, _), amount in granted.items())


@given(st.lists(st.tuples(limits, st.integers(0, 3), st.integers(0, 60)), min_size=1, max_size=20))
@settings(max_examples=examples(100))
def test_to_and_fro_never_yields_more_than_the_highest_plan_held_in_the_month(
    steps: list[tuple[int | None, int, int]],
) -> None:
    story, at = Story(), START
    for limit, spent, half_hours in steps:
        at += timedelta(hours=half_hours / 2)
        story.plan(limit, at.isoformat(), anchor=START.isoformat())
        for number in range(spent):
            story.generate(f"{at} {number}")
    allowed = max(limit or 0 for limit, _, _ in steps)

    assert sum(change.delta for change in story.changes if change.reason == "plan_change") <= allowed


@given(histories(), rules())
@settings(max_examples=examples(50))
def test_everything_can_be_published(items: Items, with_rules: Rules) -> None:
    rows = taken([items], with_rules)
    declines = [decision for decision in rows.decisions.values() if decision.outcome == "declined"]
    published = [balance_changed(change) for change in rows.changes] + [insufficient_credits(d) for d in declines]
    assert {read_back(event).id for event in published} == {event.id for event in published}

    assert len({message.id for message in published}) == len(published)


@given(ample_months(), st.data())
@settings(max_examples=examples(300))
def test_the_order_of_arrival_is_forgiven(month: list[Incoming], data: st.DataObject) -> None:
    forgiven(month, data.draw(st.permutations(month)), data)


@given(ample_months(), st.data())
@settings(max_examples=examples(200))
def test_topics_may_run_ahead_of_each_other(month: list[Incoming], data: st.DataObject) -> None:
    forgiven(month, data.draw(interleaved(month)), data)


@given(ample_months(timedelta(days=9)), rules(), st.data())
@settings(max_examples=examples(200))
def test_the_ledger_is_whole_also_where_nothing_comes_in_order(
    months: list[Incoming], with_rules: Rules, data: st.DataObject
) -> None:
    rows = Rows()
    for item in data.draw(st.permutations(months)):
        take(rows, [item], with_rules)
        check(rows)


def forgiven(in_order: list[Incoming], arrived: list[Incoming], data: st.DataObject) -> None:
    """The lasting state does not depend on the order in which the events arrived."""
    cut = data.draw(st.integers(0, len(arrived)))
    live, late = taken([in_order], Rules()), taken([arrived[:cut], arrived[cut:]], Rules())
    check(late)

    assert live.accounts["acme"]["balance"] == late.accounts["acme"]["balance"]
    assert known_of_prospects(live) == known_of_prospects(late)
    assert requested(live) == requested(late)
    assert live.purchases == late.purchases


def requested(rows: Rows) -> Counter[tuple[str, str]]:
    """For which prospects a refund request waits."""
    return Counter((r.account_id, r.prospect_id) for r in rows.requests.values() if r.status == "waiting")


def known_of_prospects(rows: Rows) -> dict[tuple[str, str], list[tuple[str, datetime | None, bool]]]:
    """The stays of each prospect: origin, end, and whether a charge for it is still borne."""
    known: dict[tuple[str, str], list[tuple[str, datetime | None, bool]]] = {}
    for name, prospect_id in rows.prospects:
        prospect = rows.prospect(name, prospect_id)
        stays = [(stay, prospect.charge_of(stay)) for stay in prospect.stays()]
        known[name, prospect_id] = [(s.origin, s.ended_at, c is not None and not c.is_settled) for s, c in stays]
    return known
