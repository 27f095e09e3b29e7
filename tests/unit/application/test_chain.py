"""A stored offset moves along the records that were read, and past no others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_service.application.processing.chain import ChainBroken, join, moved
from credit_service.application.record import Record, read_record
from credit_service.domain.event import Place

A, B = ("topic-a", 0), ("topic-b", 3)


def record(partition: tuple[str, int], offset: int) -> Record:
    return read_record(Place(*partition, offset), "plan-changed", None, None, [], 0)


def portion(partition: tuple[str, int], begin: int, until: int, *offsets: int) -> list[Record]:
    records = [record(partition, offset) for offset in offsets]
    join(records, begin, until)
    return records


def test_offsets_without_a_record_are_passed_over_with_the_record_beside_them() -> None:
    """Offsets of transaction markers: before the first record, between two, and after the last."""
    records = [*portion(A, 0, 9, 2, 3, 6), *portion(B, 5, 6, 5)]
    assert moved(records, {A: 0, B: 5}) == {A: 9, B: 6}
    assert moved(records[:1], {A: 0}) == {A: 3}
    assert moved(records[1:3], {A: 3}) == {A: 9}


def test_what_is_missing_breaks_the_chain() -> None:
    before, lost, behind = portion(A, 0, 2, 0, 1), portion(A, 2, 3, 2), portion(A, 3, 5, 3, 4)
    assert moved([*before, *lost, *behind], {A: 0}) == {A: 5}
    with pytest.raises(ChainBroken, match=r"^topic-a/0 is at offset 2, but the next record follows 3$"):
        moved([*before, *behind], {A: 0})
    with pytest.raises(ChainBroken, match=r"^topic-a/0 is at offset 0, but the next record follows 2$"):
        moved(lost, {A: 0})


def test_what_comes_once_more_breaks_the_chain() -> None:
    again = portion(A, 0, 2, 0, 1)
    with pytest.raises(ChainBroken):
        moved([*again, *again], {A: 0})


@given(st.lists(st.integers(1, 4), min_size=1, max_size=9), st.data())
def test_any_record_left_out_breaks_it_but_the_last(gaps: list[int], data: st.DataObject) -> None:
    """Portions of one record each, each after some offsets without a record."""
    ends = [sum(gaps[: n + 1]) for n in range(len(gaps))]
    records = [portion(A, end - gap, end, end - 1)[0] for gap, end in zip(gaps, ends, strict=True)]
    assert moved(records, {A: 0}) == {A: ends[-1]}
    out = data.draw(st.integers(0, len(records) - 1))
    left = records[:out] + records[out + 1 :]
    if out == len(records) - 1:
        assert moved(left, {A: 0}) == ({A: ends[-2]} if left else {})
    else:
        with pytest.raises(ChainBroken):
            moved(left, {A: 0})
