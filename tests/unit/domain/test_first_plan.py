from __future__ import annotations

from dataclasses import replace

import pytest

from credit_contracts.envelope import Event
from credit_contracts.incoming import PlanChanged, ProspectGenerated
from credit_service.application.record import read_record
from credit_service.domain.catch_up import TimerBounds, next_portion
from credit_service.domain.decide import decide
from credit_service.domain.event import EARLIEST, Incoming, Place, Wake
from credit_service.domain.first_plan import began_at, begins_at, note_of
from credit_service.domain.rules import Rules
from credit_service.testing import CreditService
from support.domain import ACCOUNT, NOW, Story, event, time

PLAN = PlanChanged(account_id=ACCOUNT, plan_id="plan", monthly_credits=5)
TODAY = time("2026-11-30 12:00")


def test_a_first_plan_of_long_ago_turns_no_months_that_nobody_had() -> None:
    service = CreditService(TODAY)
    service.send(Event("/billing", "first", "plan-changed", EARLIEST, PLAN))
    service.move_clock(time("2026-11-30 13:00"))

    assert [message.topic for message in service.published] == ["balance-changed"]
    shown = service.account(ACCOUNT)
    assert shown is not None
    assert shown.period is not None
    assert (shown.balance, shown.period.starts_at) == (5, time("2026-11-01"))
    decided = service.decision(ACCOUNT, "/billing", "first")
    assert decided is not None
    assert "begins in the month of its append time, 2026-11-30T12:00:00+00:00" in str(decided)


def test_it_begins_in_the_month_of_its_append_time_however_late_it_is_decided() -> None:
    story = Story(now=time("2026-11-30"))
    assert story.plan(5, "2001-01-15", appended="2026-08-20 10:00") == "plan-in-force"

    assert story.period is not None
    assert story.period.starts_at == time("2026-08-15")
    assert story.decisions[0].note == note_of(time("2026-08-20 10:00"))
    assert story.grants[0].effective_at == time("2026-08-20 10:00")
    assert story.wait("2026-11-20").log == ["plan_change +5", *["lapse -5", "renewal +5"] * 3]


@pytest.mark.parametrize(
    ("occurred", "begins"),
    [
        ("2024-08-20 10:00", "2024-08-20 10:00"),
        ("2024-08-20 09:59:59.999999", "2026-08-20 10:00"),
    ],
)
def test_just_as_old_as_the_setting_is_not_too_old(occurred: str, begins: str) -> None:
    story = Story()
    story.plan(5, occurred, appended="2026-08-20 10:00")

    assert story.period is not None
    assert story.period.starts_at <= time(begins) < story.period.ends_at
    assert (story.decisions[0].note is None) is (occurred == begins)


def test_a_deployment_says_how_old_it_may_be() -> None:
    first = event(PLAN, time("2026-01-10"), "first", appended_at=time("2026-11-20"))

    assert begins_at(first, TODAY, 10) == time("2026-11-20")
    assert begins_at(first, TODAY, 11) == time("2026-01-10")


def test_the_age_is_counted_in_months_of_the_account_s_own_time_zone() -> None:
    # Midnight of 1 March in Auckland, where summer time hides an hour of the way from September.
    plan = PLAN.model_copy(update={"time_zone": "Pacific/Auckland"})
    appended_at = time("2026-08-31 12:00")

    for edge, is_old in (("2026-02-28 11:00", False), ("2026-02-28 10:59:59", True)):
        one = event(plan, time(edge), "first", appended_at=appended_at)
        assert (begins_at(one, TODAY, 6) == appended_at) is is_old


def test_where_the_append_time_is_unknown_or_ahead_the_database_s_clock_counts() -> None:
    unknown = replace(event(PLAN, EARLIEST, "first"), appended_at=None)
    ahead = event(PLAN, EARLIEST, "first", appended_at=time("9999-12-31"))

    assert begins_at(unknown, TODAY, 24) == begins_at(ahead, TODAY, 24) == TODAY


@pytest.mark.parametrize(("timestamp_ms", "appended_at"), [(-1, None), (0, EARLIEST), (86_400_000, time("1970-01-02"))])
def test_the_append_time_is_that_of_the_broker(timestamp_ms: int, appended_at: object) -> None:
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", b"e-1"),
        ("ce_source", b"/billing"),
        ("ce_type", b"plan-changed"),
        ("ce_time", b"2026-03-01T00:00:00Z"),
        ("content-type", b"application/json"),
    ]
    value = PLAN.model_dump_json().encode()
    place = Place("plan-changed", 0, 0)
    record = read_record(place, "plan-changed", b"acme", value, headers, timestamp_ms, is_append_time=True)
    of_its_producer = read_record(place, "plan-changed", b"acme", value, headers, timestamp_ms)

    assert isinstance(record.content, Incoming)
    assert record.content.appended_at == appended_at
    assert isinstance(of_its_producer.content, Incoming)
    assert of_its_producer.content.appended_at is None


def test_the_anchor_may_be_of_any_age() -> None:
    story = Story(now=TODAY)
    story.plan(5, "2026-11-20", anchor="1970-01-31")

    assert story.period is not None
    assert (story.period.number, story.period.starts_at) == (681, time("2026-10-31"))
    assert story.decisions[0].note is None


def test_what_happened_before_that_month_is_booked_in_it() -> None:
    story = Story(now=TODAY)
    assert story.generate("ann", "1990-01-01") == "parked"
    story.plan(5, "1970-01-01", appended="2026-11-20")

    assert story.generate("bob", "2010-01-01") == "charged"
    assert story.log == ["plan_change +5", "charge -1", "charge -1"]
    assert {change.period_ends_at for change in story.changes} == {time("2026-12-01")}


@pytest.mark.parametrize(
    ("effective", "outcome"),
    [("1971-01-01", "plan-in-force"), ("2026-11-20", "plan-in-force"), ("2026-11-25", "plan-pending")],
)
def test_what_takes_effect_before_it_begins_is_in_force_from_then_on(effective: str, outcome: str) -> None:
    story = Story(now=TODAY)

    assert story.plan(5, "1970-01-01", effective=effective, appended="2026-11-20") == outcome
    assert story.wait("2026-11-25").balance == 5


def test_a_later_plan_may_be_of_any_age() -> None:
    story = Story(now=TODAY)
    story.plan(5, "2026-11-01")

    assert story.plan(9, "1970-01-01", appended="2026-11-20") == "plan-superseded"
    assert story.decisions[-1].note is None


def test_the_note_tells_the_instant_to_the_microsecond() -> None:
    instant = time("2026-08-20 10:00:00.123456")

    assert began_at(note_of(instant)) == instant
    assert began_at(None) is None
    assert began_at("billing anchor and time zone are those of the first plan; the new ones are ignored") is None


def test_months_that_do_not_turn_cut_no_batch() -> None:
    story = Story(now=TODAY)
    charge = ProspectGenerated(account_id=ACCOUNT, prospect_id="ann")
    inputs = [
        event(charge, time("2026-11-21"), "charge"),
        event(PLAN, EARLIEST, "first", appended_at=time("2026-11-20")),
    ]
    accounts = story.rows.load(inputs, unparked_max=10)

    assert next_portion(accounts, inputs, TODAY, TimerBounds(of_batch=3)).taken == 2
    others = Rules(first_plan_age_months_max=1_200)
    cut = next_portion(
        accounts, inputs, TODAY, TimerBounds(of_batch=3), first_plan_age_months_max=others.first_plan_age_months_max
    )
    assert cut.taken == 1


def test_three_hundred_of_them_stand_in_front_of_nobody() -> None:
    plans: list[Incoming | Wake] = [
        event(PLAN.model_copy(update={"account_id": f"old-{n}"}), EARLIEST, f"{n}", appended_at=TODAY)
        for n in range(300)
    ]
    story = Story(now=TODAY)
    accounts = story.rows.load(plans, unparked_max=10)
    decided = decide(accounts, plans, TODAY, story.rules)

    assert (len(decided.decisions), len(decided.changes)) == (300, 300)
    assert all(account.next_timer_at is not None and account.next_timer_at > TODAY for account in accounts.values())
    assert NOW > TODAY
