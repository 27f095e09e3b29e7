"""Which changes of a batch are recorded after which of its decisions."""

from datetime import UTC, datetime, timedelta

import pytest

from credit_service.application.explain.position import BatchChange, BatchDecision, last_sequence

BEGAN = datetime(2026, 3, 1, tzinfo=UTC)
GENERATED, BOUNCED, DELETED, PLAN = "prospect-generated", "email-bounced", "prospect-deleted", "plan-changed"


def at(minutes: int) -> datetime:
    return BEGAN + timedelta(minutes=minutes)


def decision(position: int, kind: str, outcome: str, minutes: int, prospect: bytes | None = b"ann") -> BatchDecision:
    return BatchDecision(position, kind, outcome, at(minutes), prospect)


def change(sequence: int, reason: str, cause: BatchDecision, minutes: int | None = None) -> BatchChange:
    return BatchChange(sequence, reason, cause.occurred_at if minutes is None else at(minutes), cause)


def stands(decisions: list[BatchDecision], changes: list[BatchChange], before: int = 0) -> list[int]:
    """The last sequence after each of the decisions."""
    return [last_sequence(decisions, changes, d.position, before) for d in decisions]


def test_what_is_recorded_with_its_cause_stands_from_it_on() -> None:
    first, free, third = (
        decision(7, GENERATED, "charged", 1),
        decision(8, GENERATED, "free", 2),
        decision(9, BOUNCED, "refunded", 3),
    )
    changes = [change(5, "charge", first), change(6, "refund", third)]
    assert stands([first, free, third], changes, before=4) == [5, 5, 6]


def test_a_batch_without_changes_leaves_what_was() -> None:
    assert stands([decision(7, GENERATED, "free", 1)], [], before=4) == [4]


def test_a_bounce_that_came_first_has_its_effect_with_the_charge() -> None:
    bounce, other, charge = (
        decision(1, BOUNCED, "awaiting-charge", 5),
        decision(2, GENERATED, "charged", 1, b"bob"),
        decision(3, GENERATED, "charged", 1),
    )
    changes = [change(1, "charge", other), change(2, "charge", charge), change(3, "refund", bounce)]
    assert stands([bounce, other, charge], changes) == [0, 1, 3]


def test_a_stay_that_a_late_delete_parts_is_charged_with_the_delete() -> None:
    charge, free, other, delete = (
        decision(1, GENERATED, "charged", 1),
        decision(2, GENERATED, "free", 9),
        decision(3, GENERATED, "charged", 3, b"bob"),
        decision(4, DELETED, "deleted", 5),
    )
    changes = [change(1, "charge", charge), change(2, "charge", other), change(3, "charge", free)]
    assert stands([charge, free, other, delete], changes) == [1, 1, 2, 3]


def test_what_comes_too_late_brings_nothing_about() -> None:
    charge, late, free, delete = (
        decision(1, GENERATED, "charged", 11),
        decision(2, DELETED, "too-late", 1),
        decision(3, GENERATED, "free", 19),
        decision(4, DELETED, "deleted", 15),
    )
    changes = [change(1, "charge", charge), change(2, "charge", free)]
    assert stands([charge, late, free, delete], changes) == [1, 1, 1, 2]


def test_what_is_charged_anew_under_the_same_decision_stands_from_the_delete_on() -> None:
    charge, bounce, other, delete = (
        decision(1, GENERATED, "charged", 1),
        decision(2, BOUNCED, "refunded", 9),
        decision(3, GENERATED, "free", 2, b"bob"),
        decision(4, DELETED, "deleted", 5),
    )
    changes = [change(1, "charge", charge), change(2, "refund", bounce), change(3, "charge", charge)]
    assert stands([charge, bounce, other, delete], changes) == [1, 2, 2, 3]


def test_an_earlier_batch_may_have_decided_the_cause() -> None:
    long_ago = decision(2, GENERATED, "free", 9)
    other, delete = decision(8, GENERATED, "free", 3, b"bob"), decision(9, DELETED, "deleted", 5)
    assert stands([other, delete], [change(4, "charge", long_ago)], before=3) == [3, 4]


def test_of_two_deletes_the_one_before_the_stay_parted_it() -> None:
    free = decision(2, GENERATED, "free", 9)
    after, before = decision(8, DELETED, "deleted", 20), decision(9, DELETED, "deleted", 5)
    assert stands([after, before], [change(4, "charge", free)], before=3) == [3, 4]


@pytest.mark.parametrize(
    ("kind", "minutes", "expected"),
    [
        (GENERATED, 4, [0, 0, 1]),
        (GENERATED, 6, [0, 1, 1]),
        ("renewal", 5, [0, 1, 1]),
    ],
)
def test_a_plan_for_later_takes_effect_with_what_comes_at_its_instant(
    kind: str, minutes: int, expected: list[int]
) -> None:
    plan = decision(1, PLAN, "plan-pending", 1, None)
    second, third = decision(2, kind, "free", minutes, None), decision(3, GENERATED, "free", 7)
    assert stands([plan, second, third], [change(1, "plan_change", plan, 5)]) == expected


def test_a_plan_that_the_clock_brought_about_stands_behind_all() -> None:
    plan, second = decision(1, PLAN, "plan-pending", 1, None), decision(2, GENERATED, "free", 3)
    assert stands([plan, second], [change(1, "plan_change", plan, 5)]) == [0, 1]
