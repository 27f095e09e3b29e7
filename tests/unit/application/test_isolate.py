"""Items that are refused together are halved until one is at fault alone; all others are taken, in their order."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

import pytest

from credit_service.application.isolate import isolate


class Refused(Exception):  # noqa: N818 - reads as the condition that it reports
    """Some of the items are refused."""


class Taker:
    """Takes items, at most `taken_max` together, unless one of them is among `refused`."""

    def __init__(self, refused: Collection[int] = (), taken_max: int = 1_000) -> None:
        self.attempted: list[list[int]] = []
        self.taken: list[int] = []
        self.given_up: list[int] = []
        self._refused = refused
        self._taken_max = taken_max

    async def attempt(self, items: Sequence[int]) -> int:
        self.attempted.append(list(items))
        if any(item in self._refused for item in items):
            raise Refused
        self.taken += items[: self._taken_max]
        return min(len(items), self._taken_max)

    async def give_up(self, item: int, _: Refused) -> None:
        self.given_up.append(item)


def isolated(taker: Taker, items: Sequence[int], attempts: int = 1) -> None:
    asyncio.run(isolate(items, taker.attempt, taker.give_up, Refused, attempts=attempts))


def test_items_that_nobody_refuses_are_attempted_once() -> None:
    taker = Taker()
    isolated(taker, range(5))
    assert (taker.attempted, taker.taken, taker.given_up) == ([[0, 1, 2, 3, 4]], [0, 1, 2, 3, 4], [])


@pytest.mark.parametrize("refused", [{0}, {3}, {7}, {0, 7}, {2, 3}, set(range(8))])
def test_the_items_at_fault_are_given_up_and_all_others_taken_in_order(refused: set[int]) -> None:
    taker = Taker(refused)
    isolated(taker, range(8))
    assert (taker.given_up, taker.taken) == (sorted(refused), [item for item in range(8) if item not in refused])


def test_each_part_has_its_attempts() -> None:
    taker = Taker({2})
    isolated(taker, range(3), attempts=2)
    assert taker.attempted == [[0, 1, 2], [0, 1, 2], [0], [1, 2], [1, 2], [1], [2], [2]]


def test_a_part_that_is_taken_in_portions_goes_on_behind_them() -> None:
    taker = Taker({4}, taken_max=2)
    isolated(taker, range(6))
    assert (taker.taken, taker.given_up) == ([0, 1, 2, 3, 5], [4])


def test_no_more_are_attempted_than_go_together() -> None:
    taker = Taker()
    asyncio.run(isolate(range(5), taker.attempt, taker.give_up, Refused, at_once=lambda number: min(number, 2)))
    assert taker.attempted == [[0, 1], [2, 3], [4]]


def test_progress_is_reported_for_each_part_of_the_whole() -> None:
    taker, progress = Taker({1}), list[int]()
    asyncio.run(
        isolate(range(4), taker.attempt, taker.give_up, Refused, progressed=lambda: progress.append(len(taker.taken)))
    )
    assert progress == [1, 3]


def test_any_other_error_ends_it() -> None:
    async def attempt(_: Sequence[int]) -> int:
        raise TimeoutError

    taker = Taker()
    with pytest.raises(TimeoutError):
        asyncio.run(isolate(range(4), attempt, taker.give_up, Refused))
    assert not taker.given_up
