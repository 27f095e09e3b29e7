from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from credit_contracts import INCOMING
from credit_contracts.incoming import (
    WRONG_EMAIL,
    CreditsPurchased,
    EmailBounced,
    PlanChanged,
    ProspectDeleted,
    ProspectExported,
    ProspectGenerated,
    ProspectImported,
    ProspectStageChanged,
    ProspectTransferred,
)
from credit_contracts.naming import topic_name
from credit_service import bounds
from credit_service.domain.decide import decide
from credit_service.domain.event import TYPE_RANK, Incoming, Wake
from credit_service.domain.idempotency import key_of
from credit_service.domain.parking import ParkedFailed
from credit_service.domain.rules import Rules
from support.cursed import CURSED, curse
from support.domain import ACCOUNT, NOW, SOURCE, Story, event, time
from support.small_bounds import small_bounds

if TYPE_CHECKING:
    from credit_contracts.incoming import IncomingData

UNTIL = time("2026-01-01")
"""The time of a wake for parked events alone, not for timers."""


def unpark_all(story: Story) -> int:
    """Wakes the account until no event is parked; the number of wakes."""
    batches = 0
    while story.waiting:
        story.batch([Wake(ACCOUNT, UNTIL, 0)])
        batches += 1
    return batches


def test_events_before_the_first_plan_wait_for_it(story: Story) -> None:
    assert story.generate("ann") == "parked"
    assert story.bounce("ann") == "parked"
    assert story.decisions == []
    assert story.waiting == 2


def test_the_first_plan_is_decided_before_what_waits(story: Story) -> None:
    story.generate("ann", "2026-01-01")
    story.export("bob", "2026-01-02")
    story.plan(10, "2026-01-05")

    assert [d.type for d in story.decisions] == ["plan-changed", "prospect-generated", "prospect-exported"]
    assert story.balance == 8
    assert story.waiting == 0
    assert story.rows.parked == {}


def test_what_waits_is_decided_in_order_of_occurrence(story: Story) -> None:
    story.generate("third", "2026-01-03", event_id="a")
    story.generate("first", "2026-01-01", event_id="c")
    story.generate("second", "2026-01-02", event_id="b")
    story.plan(2, "2026-01-05")

    assert [(d.prospect_id, d.outcome) for d in story.decisions[1:]] == [
        ("first", "charged"),
        ("second", "charged"),
        ("third", "declined"),
    ]


def all_kinds(prospect: str) -> list[IncomingData]:
    """The events that may be parked, in their order at one instant."""
    return [
        CreditsPurchased(account_id=ACCOUNT, purchase_id="purchase", credits=5),
        ProspectImported(account_id=ACCOUNT, prospect_id=prospect),
        ProspectGenerated(account_id=ACCOUNT, prospect_id=prospect),
        ProspectExported(account_id=ACCOUNT, prospect_id=prospect),
        ProspectTransferred(account_id=ACCOUNT, prospect_id=prospect),
        ProspectStageChanged(account_id=ACCOUNT, prospect_id=prospect, stage=WRONG_EMAIL),
        EmailBounced(account_id=ACCOUNT, prospect_id=prospect),
        ProspectDeleted(account_id=ACCOUNT, prospect_id=prospect),
    ]


def test_all_kinds_of_events_wait_and_are_decided_by_their_type_at_one_instant(story: Story) -> None:
    at = time("2026-01-01")
    plan = PlanChanged(account_id=ACCOUNT, plan_id="p", monthly_credits=10)
    kinds = [data for data in all_kinds("ann") if not isinstance(data, ProspectImported)]
    decided = story.batch([event(data, at, f"{9 - number}") for number, data in enumerate(kinds)][::-1])
    assert (len(decided.parked), decided.decisions) == (7, [])
    story.batch([event(plan, time("2026-01-05"), "plan")])

    assert [(d.type, d.outcome) for d in story.decisions] == [
        ("plan-changed", "plan-in-force"),
        ("credits-purchased", "purchased"),
        ("prospect-generated", "charged"),
        ("prospect-exported", "free"),
        ("prospect-transferred", "no-effect"),
        ("prospect-stage-changed", "refund-requested"),
        ("email-bounced", "refunded"),
        ("prospect-deleted", "deleted"),
    ]
    assert story.log == ["plan_change +10", "purchase +5", "charge -1", "refund +1"]


def test_an_import_comes_before_a_charge_of_the_same_instant(story: Story) -> None:
    at = time("2026-01-01")
    story.batch([event(data, at, f"{number}") for number, data in enumerate(all_kinds("ann")[::-1])])
    story.plan(10, "2026-01-05")

    assert [d.outcome for d in story.decisions[1:]] == [
        "purchased",
        "imported",
        "free",
        "free",
        "no-effect",
        "no-effect",
        "no-effect",
        "deleted",
    ]


def test_the_order_knows_every_type() -> None:
    assert set(TYPE_RANK) == set(INCOMING)
    assert [topic_name(type(data)) for data in all_kinds("ann")] == sorted(TYPE_RANK, key=TYPE_RANK.__getitem__)[1:]


def test_at_one_instant_and_of_one_type_source_and_id_decide(story: Story) -> None:
    at = time("2026-01-01")
    inputs = [
        event(ProspectGenerated(account_id=ACCOUNT, prospect_id="y"), at, "4", source="/b"),
        event(ProspectGenerated(account_id=ACCOUNT, prospect_id="x"), at, "6", source="/a"),
        event(ProspectGenerated(account_id=ACCOUNT, prospect_id="x"), at, "5", source="/a"),
    ]
    story.batch(inputs)
    story.plan(10, "2026-01-05")

    assert [d.id for d in story.decisions[1:]] == ["5", "6", "4"]


def test_a_bounce_that_waits_before_its_charge_refunds_it(story: Story) -> None:
    story.bounce("ann", "2026-01-01")
    story.generate("ann", "2026-01-02")
    story.plan(10, "2026-01-05")

    assert story.log == ["plan_change +10", "charge -1", "refund +1"]


def test_what_waits_is_booked_in_the_first_period_or_later(story: Story) -> None:
    story.generate("early", "2025-11-11")
    story.generate("later", "2026-02-10")
    story.plan(10, "2026-01-05", anchor="2026-01-01")

    assert story.log == ["plan_change +10", "charge -1", "lapse -9", "renewal +10", "charge -1"]


def test_a_key_that_waits_waits_once(story: Story) -> None:
    assert story.generate("ann", event_id="same") == "parked"
    assert story.generate("ann", event_id="same") == "duplicate"
    assert story.generate("bob", event_id="same") == "conflict"
    assert story.waiting == 1


def test_a_key_that_waited_is_a_duplicate_afterwards(story: Story) -> None:
    story.generate("ann", event_id="same")
    story.plan(10)

    assert story.generate("ann", event_id="same") == "duplicate"
    assert story.balance == 9


def test_events_and_first_plan_in_one_batch_never_reach_the_table(story: Story) -> None:
    decided = story.batch(
        [
            event(ProspectGenerated(account_id=ACCOUNT, prospect_id="ann"), time("2026-01-01"), "1"),
            event(PlanChanged(account_id=ACCOUNT, plan_id="p", monthly_credits=5), time("2026-01-02"), "2"),
            event(ProspectGenerated(account_id=ACCOUNT, prospect_id="bob"), time("2026-01-03"), "3"),
        ]
    )

    assert (decided.parked, decided.unparked) == ([], [])
    assert [d.outcome for d in decided.decisions] == ["plan-in-force", "charged", "charged"]


def test_what_waits_is_decided_in_bounded_batches() -> None:
    story = Story(Rules(unparked_max=2))
    for number in range(5):
        story.generate(f"p{number}")
    story.plan(10)

    assert (story.waiting, len(story.decisions)) == (3, 3)
    assert unpark_all(story) == 2
    assert [d.prospect_id for d in story.decisions[1:]] == ["p0", "p1", "p2", "p3", "p4"]


def test_what_came_in_one_batch_with_the_first_plan_is_bounded_too() -> None:
    story = Story(Rules(unparked_max=2))
    plan = PlanChanged(account_id=ACCOUNT, plan_id="p", monthly_credits=10)
    waiting = [
        event(ProspectGenerated(account_id=ACCOUNT, prospect_id=f"p{n}"), time("2026-01-01"), f"{n}") for n in range(5)
    ]
    story.batch([*waiting, event(plan, time("2026-01-02"), "plan")])

    assert (story.waiting, len(story.rows.parked), story.balance) == (3, 3, 8)
    unpark_all(story)
    assert [d.prospect_id for d in story.decisions[1:]] == ["p0", "p1", "p2", "p3", "p4"]


def test_newer_events_queue_behind_what_still_waits() -> None:
    story = Story(Rules(unparked_max=2))
    for number in range(5):
        story.generate(f"p{number}")
    story.plan(10, "2026-01-02")

    assert story.generate("newest", "2026-01-03") == "parked"
    assert story.plan(0, "2026-01-04") == "parked"
    unpark_all(story)
    assert [d.prospect_id for d in story.decisions[1:]] == ["p0", "p1", "p2", "p3", "p4", "newest", None]
    assert story.generate("live again") == "charged"


def test_a_newer_event_of_an_earlier_time_takes_its_turn() -> None:
    story = Story(Rules(unparked_max=2))
    for number in range(6):
        story.generate(f"p{number}", f"2026-01-01 10:0{number}")
    story.plan(10, "2026-01-02")
    story.generate("between", "2026-01-01 10:03:30")
    unpark_all(story)

    assert [d.prospect_id for d in story.decisions[1:]] == ["p0", "p1", "p2", "p3", "between", "p4", "p5"]


def test_none_goes_past_the_last_one_that_was_loaded() -> None:
    story = Story(Rules(unparked_max=2))
    for number in range(5):
        story.generate(f"p{number}", f"2026-01-01 10:0{number}")
    story.plan(10, "2026-01-02")
    inputs: list[Incoming | Wake] = [
        event(ProspectGenerated(account_id=ACCOUNT, prospect_id="after all"), time("2026-01-05"), "n1"),
        event(ProspectGenerated(account_id=ACCOUNT, prospect_id="before all"), time("2026-01-01"), "n2"),
        Wake(ACCOUNT, UNTIL, 0),
        Wake(ACCOUNT, UNTIL, 0),
    ]
    story.batch(inputs)
    assert [d.prospect_id for d in story.decisions[3:]] == ["before all", "p2", "p3"]
    unpark_all(story)
    assert [d.prospect_id for d in story.decisions[6:]] == ["p4", "after all"]


def test_no_timer_overtakes_what_still_waits() -> None:
    story = Story(Rules(unparked_max=2))
    for number in range(5):
        story.generate(f"p{number}")
    story.plan(10, "2026-01-02", anchor="2026-01-01")
    story.wait("2026-02-02").wait("2026-02-02").wait("2026-02-02")

    assert story.log == ["plan_change +10", *["charge -1"] * 5, "lapse -5", "renewal +10"]


def test_what_waits_brings_its_own_timers_about(story: Story) -> None:
    story.generate("ann", "2026-03-10")
    story.plan(10, "2026-01-10")

    assert [d.type for d in story.decisions] == ["plan-changed", "renewal", "renewal", "prospect-generated"]


def test_no_more_than_ten_thousand_events_wait(story: Story) -> None:
    events = [
        event(ProspectGenerated(account_id=ACCOUNT, prospect_id=f"p{n}"), time("2026-01-01"), f"{n}")
        for n in range(bounds.PARKED_MAX + 2)
    ]
    decided = story.batch(events)

    assert bounds.PARKED_MAX == 10_000
    assert (len(decided.parked), story.waiting) == (10_000, 10_000)
    assert [(r.reason, r.incoming.id) for r in decided.refused] == [("parked-full", "10000"), ("parked-full", "10001")]


def test_the_room_is_that_of_accounts_without_a_plan() -> None:
    story = Story(Rules(unparked_max=1))
    with small_bounds(PARKED_MAX=3):
        for number in range(3):
            story.generate(f"p{number}")
        assert story.generate("one too many") == "parked-full"
        story.plan(10)
        outcomes = [story.generate(f"behind them {number}") for number in range(5)]

    assert outcomes == ["parked"] * 5
    unpark_all(story)
    assert [d.outcome for d in story.decisions[1:]] == ["charged"] * 8


def test_an_event_on_which_the_rules_fail_is_named_though_another_lets_it_in(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story()
    for prospect in ("ann", CURSED, "bob"):
        story.generate(prospect)
    curse(monkeypatch)
    with pytest.raises(ParkedFailed) as failed:
        story.plan(10)

    assert getattr(failed.value.incoming.data, "prospect_id") == CURSED  # noqa: B009 - not all events have one
    assert isinstance(failed.value.__cause__, ArithmeticError)


def test_an_event_that_is_given_up_is_refused_and_all_others_are_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story()
    for prospect in ("ann", CURSED, "bob"):
        story.generate(prospect, event_id=prospect)
    curse(monkeypatch)
    plan = event(PlanChanged(account_id=ACCOUNT, plan_id="p", monthly_credits=10), time("2026-01-02"), "plan")
    accounts = story.rows.load([plan], unparked_max=9)
    decided = decide(accounts, [plan], NOW, story.rules, {(ACCOUNT, key_of(SOURCE, CURSED)): "ArithmeticError"})
    story.rows.store(accounts.values(), decided)

    assert [(r.incoming.id, r.reason, r.detail) for r in decided.refused] == [
        (CURSED, "undecidable", "ArithmeticError")
    ]
    assert [d.prospect_id for d in decided.decisions] == [None, "ann", "bob"]
    assert (story.waiting, story.rows.parked) == (0, {})


def test_a_first_plan_is_decided_also_when_the_room_is_full(story: Story) -> None:
    story.batch(
        [
            event(ProspectGenerated(account_id=ACCOUNT, prospect_id=f"p{n}"), time("2026-01-01"), f"{n}")
            for n in range(10_000)
        ]
    )

    assert story.plan(None) == "plan-in-force"
    assert story.waiting == 9_000
    assert unpark_all(story) == 9
    assert story.changes[-1].sequence == 10_001


def test_a_first_plan_to_come_lets_what_waits_be_decided(story: Story) -> None:
    story.generate("ann", "2026-01-01")
    story.generate("bob", "2026-01-25")
    story.plan(10, "2026-01-10", effective="2026-01-20")

    assert [d.outcome for d in story.decisions if d.prospect_id] == ["declined", "charged"]


def test_a_second_plan_waits_its_turn_behind_what_still_waits() -> None:
    story = Story(Rules(unparked_max=2))
    for number in range(3):
        story.generate(f"p{number}", "2026-01-01")
    story.plan(2, "2026-01-02")
    assert story.plan(10, "2026-01-03") == "parked"
    unpark_all(story)

    assert [d.outcome for d in story.decisions] == ["plan-in-force", "charged", "charged", "declined", "plan-in-force"]
