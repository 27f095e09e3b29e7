"""Which rows are at fault, and when their topic is: decided by other rows that are accepted later."""

from __future__ import annotations

from datetime import UTC, datetime

from aiokafka import errors

from credit_service import bounds
from credit_service.application.ports import Claim, WaitingEvent
from credit_service.kafka.publish.refused_rows import (
    REFUSED_FOR_GOOD,
    TRIED_MAX,
    TRY_AGAIN_SECONDS,
    InvalidRecord,
    RefusedRows,
    RowsRefused,
)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def claim(*rows: tuple[int, str]) -> Claim:
    """Rows by number and topic; each is of an account of its own."""
    waiting = [WaitingEvent(topic, b"%d" % number, f"{number}:1", datetime.now(UTC), b"{}") for number, topic in rows]
    return Claim("claim", waiting, [number for number, _ in rows])


def one(*taken: str) -> RowsRefused:
    return RowsRefused([([0], "TooLarge")], taken)


def test_a_batch_of_several_halves_the_next_claims_and_they_grow_again() -> None:
    rows = RefusedRows()
    assert rows.refused(claim((1, "t"), (2, "t"), (3, "t"), (4, "t")), RowsRefused([([0, 1], "TooLarge")])) == {}
    assert (rows.rows_max, rows.left_out.ids) == (2, [])
    for _ in range(20):
        rows.published(claim((1, "t")))
    assert rows.rows_max == bounds.CLAIM_ROWS_MAX


def test_a_row_is_set_aside_if_others_of_its_topic_were_taken_with_it() -> None:
    rows = RefusedRows()
    assert rows.refused(claim((1, "t"), (2, "t")), one("t")) == {1: "TooLarge"}
    assert (rows.problem, rows.left_out.ids) == (None, [])


def test_a_row_is_set_aside_if_it_is_refused_again_after_others_were_taken() -> None:
    rows = RefusedRows()
    assert rows.refused(claim((1, "t")), one("other")) == {}
    assert (rows.left_out.ids, rows.left_out.keys) == ([1], [b"1"])
    assert "t (TooLarge)" in (rows.problem or "")
    rows.published(claim((2, "other")))
    assert rows.left_out.ids == [1], "of another topic"
    rows.published(claim((3, "t")))
    assert (rows.left_out.ids, rows.rows_max, rows.problem) == ([], 1, None)
    assert rows.refused(claim((1, "t")), one()) == {1: "TooLarge"}


def test_what_was_taken_before_is_no_proof() -> None:
    rows = RefusedRows()
    rows.published(claim((1, "t")))
    assert rows.refused(claim((2, "t")), one()) == {}


def test_what_is_taken_at_last_is_not_suspected_any_more() -> None:
    rows = RefusedRows()
    rows.refused(claim((1, "t")), one())
    rows.published(claim((2, "t")))
    rows.published(claim((1, "t")))
    assert rows.problem is None
    assert rows.refused(claim((1, "t")), one()) == {}


def test_a_topic_that_takes_nothing_is_left_alone_and_tried_again_a_little_at_a_time() -> None:
    clock = Clock()
    rows = RefusedRows(clock)
    for number in range(TRIED_MAX):
        assert rows.left_out.topics == []
        assert rows.refused(claim((number, "t")), one("other")) == {}
    assert rows.left_out.topics == ["t"]
    rows.try_again()
    assert rows.left_out.topics == ["t"]
    clock.now += TRY_AGAIN_SECONDS
    rows.try_again()
    assert (rows.left_out.topics, rows.rows_max, 0 in rows.left_out.ids) == ([], 1, False)
    rows.published(claim((0, "t")))
    assert (rows.left_out.ids, rows.problem) == ([], None)


def test_no_error_that_passes_by_itself_counts_and_one_that_the_client_does_not_know_does() -> None:
    assert errors.for_code(87) is InvalidRecord
    assert not any(error.retriable for error in REFUSED_FOR_GOOD)
    assert not issubclass(errors.UnknownError, REFUSED_FOR_GOOD)
