"""The oracle looks again when something was decided while it looked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.observed import Observed
from support.oracle import Oracle

if TYPE_CHECKING:
    from collections.abc import Collection


class Looking(Oracle):
    """Sees a decision more each time than the time before, until there are three; the outbox has one row at first."""

    looks = 0

    async def drained(self, _: float = 40, *, but: Collection[str] = ()) -> None: ...

    async def observe(self) -> Observed:
        self.looks += 1
        seen = Observed("t-", decisions=[{}] * self.looks)
        if self.looks == 3:
            seen.outbox = [{}]
        return seen

    async def _decided(self) -> int:
        return max(3, self.looks)


async def test_what_was_decided_while_it_looked_is_looked_at_again() -> None:
    oracle = Looking("", "", "", "")
    observed = await oracle.settled()
    # Twice too few, once with something that is not published yet, and then all of it.
    assert (oracle.looks, len(observed.decisions), observed.outbox) == (4, 4, [])


async def test_what_never_comes_to_rest_is_told() -> None:
    class Restless(Looking):
        async def _decided(self) -> int:
            return self.looks + 1

    with pytest.raises(AssertionError, match="during each of 10 looks"):
        await Restless("", "", "", "").settled()
