"""The oracle looks again when something was done while it looked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.observed import Observed
from support.oracle import Oracle

if TYPE_CHECKING:
    from collections.abc import Collection


class Looking(Oracle):
    """Sees a decision more each time than the time before, and there are three more than it sees at first.

    The third look sees a row in the outbox, the fourth the end of a transaction that is not over.
    """

    looks = 0

    async def drained(self, _: float = 40, *, but: Collection[str] = ()) -> None: ...

    async def observe(self) -> Observed:
        self.looks += 1
        seen = Observed("t-", decisions=[{}] * self.looks)
        if self.looks == 2:
            raise OSError("the broker is not there for a moment")
        if self.looks == 3:
            seen.outbox = [{}]
        if self.looks == 4:
            seen.open_ends = [("t-plan-changed", 0)]
        return seen

    async def _written(self) -> tuple[int, ...]:
        return max(3, self.looks), 0, 0


async def test_what_was_decided_while_it_looked_is_looked_at_again() -> None:
    oracle = Looking("", "", "", "")
    observed = await oracle.settled()
    assert (oracle.looks, len(observed.decisions), observed.outbox, observed.open_ends) == (5, 5, [], [])


async def test_what_became_a_dead_letter_while_it_looked_is_looked_at_again() -> None:
    class Dying(Looking):
        async def observe(self) -> Observed:
            self.looks += 1
            return Observed("t-", dead_letters=[{}] * (self.looks - 1))

        async def _written(self) -> tuple[int, ...]:
            return 0, 0, 1

    oracle = Dying("", "", "", "")
    assert len((await oracle.settled()).dead_letters) == 1


async def test_an_entry_without_a_decision_is_looked_at_again() -> None:
    """As of a plan that waited for its time."""

    class Entering(Looking):
        async def observe(self) -> Observed:
            self.looks += 1
            return Observed("t-", entries=[{}] * (self.looks - 1))

        async def _written(self) -> tuple[int, ...]:
            return 0, 1, 0

    oracle = Entering("", "", "", "")
    assert len((await oracle.settled()).entries) == 1


async def test_what_never_comes_to_rest_is_told() -> None:
    class Restless(Looking):
        async def _written(self) -> tuple[int, ...]:
            return self.looks + 1, 0, 0

    with pytest.raises(AssertionError, match="nothing is done during a look; last: False"):
        await Restless("", "", "", "").settled(0.5)
