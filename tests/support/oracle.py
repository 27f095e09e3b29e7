"""The oracle: waits until a deployment is at rest, and checks the promises."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import asyncpg

from support.observed import Observed, Progress, observe_ledger, observe_topics
from support.patience import patience
from support.promises import assert_holds
from support.wait import eventually


@dataclass
class Oracle:
    """Watches one deployment."""

    database_url: str
    kafka: str
    group: str
    prefix: str

    async def drained(self, within_seconds: float = 40, *, but: Collection[str] = ()) -> None:
        """Waits until all that lies in the topics is decided, published, and seen to be so by whoever watches the lag.

        `but` names topics that are left out, as the contracts know them.
        """
        waiting = "not asked yet"

        async with self._progress() as progress:

            async def is_drained() -> bool:
                nonlocal waiting
                waiting = _waiting(await progress.look(), but)
                return not waiting

            try:
                await eventually(is_drained, within_seconds=within_seconds)
            except AssertionError as error:
                raise AssertionError(f"not drained within {within_seconds} s: {waiting}") from error

    async def observe(self) -> Observed:
        """Everything there is to look at."""
        observed = await observe_ledger(self.database_url, self.prefix)
        async with self._progress() as progress:
            await progress.look_at_kafka(observed)
        await observe_topics(self.kafka, observed)
        return observed

    def _progress(self) -> Progress:
        return Progress(self.database_url, self.kafka, self.group, self.prefix)

    async def settled(self, within_seconds: float = 40, *, but: Collection[str] = ()) -> Observed:
        """Waits until the service has drained, and returns what was seen then, all of one moment.

        A timer may decide between the look at the ledger and the one at the topics; then both are looked at again.
        """
        await self.drained(within_seconds, but=but)
        observed = Observed(self.prefix)

        async def is_of_one_moment() -> bool:
            nonlocal observed
            observed = await self.observe()
            return not _waiting(observed, but) and await self._written() == _written_in(observed)

        await eventually(is_of_one_moment, within_seconds=within_seconds, what="nothing is done during a look")
        return observed

    async def check(self, *, repeats: bool = False, within_seconds: float = 40, but: Collection[str] = ()) -> Observed:
        """Waits until the service has drained, then asserts every promise; returns what was seen.

        `repeats` allows that what was published lies there again, as after a restore from a backup.
        """
        observed = await self.settled(within_seconds, but=but)
        assert_holds(observed, repeats=repeats, but=but)
        return observed

    async def _written(self) -> tuple[int, ...]:
        """How many decisions, entries and dead letters there are now: whatever the service does adds one.

        A plan that waited for its time and takes effect adds an entry alone.
        """
        connection = await asyncpg.connect(self.database_url, timeout=patience(10))
        try:
            return tuple(
                await connection.fetchrow(
                    "SELECT (SELECT count(*) FROM credits.decisions), (SELECT count(*) FROM credits.entries),"
                    " (SELECT count(*) FROM credits.dead_letters)"
                )
            )
        finally:
            await connection.close()


def _written_in(observed: Observed) -> tuple[int, ...]:
    return len(observed.decisions), len(observed.entries), len(observed.dead_letters)


def _waiting(observed: Observed, but: Collection[str]) -> str:
    """What is still under way; empty when nothing is."""
    left_out = {observed.prefix + name for name in but}
    stored = observed.stored()
    for place, end in sorted(observed.ends.items()):
        if place[0] not in left_out and end and stored.get(place, 0) != end:
            return f"{place} is read up to {stored.get(place)} of {end}"
        if place[0] not in left_out and end and observed.committed.get(place, 0) != end:
            return f"{place} is committed up to {observed.committed.get(place)} of {end}"
    if observed.outbox or observed.claims:
        return f"{len(observed.outbox)} rows in the outbox, {len(observed.claims)} claims"
    if observed.open_ends:
        return f"{observed.open_ends} end in a transaction that is not over"
    return ""
