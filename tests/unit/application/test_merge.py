"""The merge: the order of records, partitions that hold others back, and full partitions."""

from __future__ import annotations

from datetime import timedelta

from credit_contracts.envelope import Unreadable
from credit_service.application.processing.arrival import LedgerClock
from credit_service.application.processing.merge import Merge
from credit_service.application.record import Record, bytes_in_memory
from credit_service.domain.event import EARLIEST, Place

GENERATED, BOUNCED = "prospect-generated", "email-bounced"
UNBOUNDED = 1_000_000
EVERYTHING_IS_READ = frozenset({(topic, number) for topic in (GENERATED, BOUNCED) for number in range(4)})


def record(topic: str, offset: int, second: int, *, number: int = 0, value: bytes = b"") -> Record:
    content = Unreadable("not-json", "", None)
    order = (EARLIEST + timedelta(seconds=second), 0, "", "")
    # Without Kafka's timestamp only the order counts.
    return Record(Place(topic, number, offset), None, value, [], -1, content, order, bytes_in_memory(None, value, []))


def merge_of(*records: Record, bytes_max: int = UNBOUNDED) -> Merge:
    merge = Merge(bytes_max, LedgerClock())
    for number in {r.place.partition for r in records}:
        for topic in (GENERATED, BOUNCED):
            merge.add((topic, number))
    for one in records:
        merge.feed((one.place.topic, one.place.partition), [one])
    return merge


def places(records: list[Record]) -> list[tuple[str, int]]:
    return [(r.place.topic, r.place.offset) for r in records]


def test_the_earliest_head_goes_first_and_a_partition_keeps_its_order() -> None:
    merge = merge_of(
        record(GENERATED, 0, 10), record(GENERATED, 1, 5), record(GENERATED, 2, 30), record(BOUNCED, 0, 20)
    )

    taken = merge.take(UNBOUNDED, UNBOUNDED, EVERYTHING_IS_READ.__contains__)

    assert places(taken) == [(GENERATED, 0), (GENERATED, 1), (BOUNCED, 0), (GENERATED, 2)]
    assert merge.buffered == 0


def test_a_partition_with_messages_waiting_holds_the_others_of_its_number_back() -> None:
    merge = merge_of(record(GENERATED, 0, 10), record(GENERATED, 1, 30), record(BOUNCED, 0, 20))
    nothing_more_to_come = {(GENERATED, 0)}

    first = merge.take(UNBOUNDED, UNBOUNDED, nothing_more_to_come.__contains__)
    second = merge.take(UNBOUNDED, UNBOUNDED, nothing_more_to_come.__contains__)

    assert places(first) == [(GENERATED, 0), (BOUNCED, 0)]
    assert second == []
    assert merge.has((GENERATED, 0))


def test_numbers_do_not_hold_each_other_back() -> None:
    merge = merge_of(record(GENERATED, 0, 10, number=1), record(GENERATED, 0, 10, number=2))
    read = EVERYTHING_IS_READ - {(BOUNCED, 1)}

    assert [r.place.partition for r in merge.take(UNBOUNDED, UNBOUNDED, read.__contains__)] == [2]


def test_no_more_is_taken_than_asked_for() -> None:
    by_count = merge_of(*(record(GENERATED, n, n) for n in range(5)))
    by_bytes = merge_of(*(record(GENERATED, n, n, value=b"x" * 10_000) for n in range(5)))

    assert len(by_count.take(3, UNBOUNDED, EVERYTHING_IS_READ.__contains__)) == 3
    assert len(by_bytes.take(UNBOUNDED, 20_000, EVERYTHING_IS_READ.__contains__)) == 2


def test_a_partition_is_full_once_it_holds_its_share_of_the_bytes() -> None:
    merge = merge_of(*(record(GENERATED, n, n, value=b"x" * 10_000) for n in range(5)), bytes_max=100_000)

    assert merge.full() == set()
    merge.feed((BOUNCED, 0), [record(BOUNCED, 0, 0)])
    assert merge.full() == {(GENERATED, 0)}


def test_what_was_full_is_read_on_once_half_of_its_share_is_gone() -> None:
    merge = merge_of(*(record(GENERATED, n, n, value=b"x" * 10_000) for n in range(10)), bytes_max=100_000)
    assert merge.full() == {(GENERATED, 0)}

    merge.take(4, UNBOUNDED, EVERYTHING_IS_READ.__contains__)
    assert merge.not_drained() == {(GENERATED, 0)}
    merge.take(3, UNBOUNDED, EVERYTHING_IS_READ.__contains__)
    assert merge.not_drained() == set()


def test_a_partition_that_was_taken_away_brings_nothing_any_more() -> None:
    merge = merge_of(record(GENERATED, 0, 10))
    merge.remove((GENERATED, 0))
    merge.remove((BOUNCED, 0))
    merge.feed((GENERATED, 0), [record(GENERATED, 1, 11)])

    assert merge.numbers() == []
    assert merge.take(UNBOUNDED, UNBOUNDED, EVERYTHING_IS_READ.__contains__) == []


def test_how_far_a_number_is_read_is_the_earliest_of_all_that_waits_behind_heads_too() -> None:
    merge = merge_of(
        record(GENERATED, 0, 30), record(GENERATED, 1, 10), record(BOUNCED, 0, 20), record(BOUNCED, 1, 5, number=1)
    )

    assert merge.earliest(0) == EARLIEST + timedelta(seconds=10)
    assert merge.earliest(1) == EARLIEST + timedelta(seconds=5)
    merge.take(1, UNBOUNDED, EVERYTHING_IS_READ.__contains__)
    merge.take(UNBOUNDED, UNBOUNDED, EVERYTHING_IS_READ.__contains__)
    assert merge.earliest(0) is None


def test_what_comes_next_is_known_where_something_waits_or_nothing_comes() -> None:
    merge = merge_of(record(GENERATED, 0, 30))

    assert merge.knows_what_comes(0, {(BOUNCED, 0)}.__contains__)
    assert not merge.knows_what_comes(0, {(GENERATED, 0)}.__contains__)
