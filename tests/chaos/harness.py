"""Runs a workload against a deployment while faults are injected, asks the oracle, and tells what happened."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chaos.report import Report
from chaos.workload import Progress
from support.reconciled import reconcile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from chaos.faults import Fault
    from chaos.plan import Strike
    from chaos.report import Struck
    from chaos.scene import Scene
    from chaos.workload import Workload
    from support.observed import Observed

_WELL_SECONDS_MAX = 120


@dataclass
class Harness:
    """One run; `tell` is given the report at its end, whatever the end is."""

    scene: Scene
    seed: str
    tell: Callable[[str], None] = print
    report: Report = field(init=False)

    def __post_init__(self) -> None:
        self.report = Report(self.seed)

    @asynccontextmanager
    async def running(self, *, members: int, partitions: int = 3) -> AsyncIterator[Harness]:
        """Members that have decided something, and the report at the end."""
        try:
            await self.scene.deployment.make_topics(partitions=partitions)
            await self.scene.begin(members)
            yield self
        finally:
            self.tell(self.report.table())

    @asynccontextmanager
    async def under(self, fault: Fault) -> AsyncIterator[Struck]:
        """For as long as this lasts, the fault is there; it is healed also when this fails."""
        struck = self.report.begin(fault.name)
        try:
            await fault.inject(self.scene)
            struck.injected = self.report.seconds
            yield struck
        except BaseException as error:
            struck.error = repr(error)
            raise
        finally:
            await self._heal(fault, struck)

    async def _heal(self, fault: Fault, struck: Struck) -> None:
        try:
            await fault.heal(self.scene)
            struck.healed = self.report.seconds
        except BaseException as error:
            struck.error = f"{struck.error} not healed: {error!r}".strip()
            raise

    async def well(self, struck: Struck) -> None:
        """Waits until every member is ready and all that was sent is decided and published."""
        await self.scene.well(_WELL_SECONDS_MAX)
        struck.well = self.report.seconds

    async def run(self, strikes: Sequence[Strike], workload: Workload) -> None:
        """Each section of the workload is sent under one fault."""
        async with asyncio.TaskGroup() as people:
            for strike, section in zip(strikes, workload.sections, strict=True):
                progress = Progress()
                async with asyncio.TaskGroup() as sending:
                    sending.create_task(workload.play(section, self.scene, progress, people))
                    await progress.reached(strike.after_portions)
                    async with self.under(strike.fault) as struck:
                        await asyncio.sleep(strike.hold_seconds)
                if strike.recovers:
                    await self.well(struck)

    async def check(self, workload: Workload | None = None) -> Observed:
        """Asks the oracle and `credits reconcile`; no message is a dead letter that was not to be one."""
        deployment = self.scene.deployment
        await self.scene.ready()
        if workload:
            await self.scene.well(_WELL_SECONDS_MAX)
            await workload.close(self.scene)
        observed = await deployment.oracle().check(within_seconds=_WELL_SECONDS_MAX)
        letters = {(row["topic"], row["partition"], row["offset"]) for row in observed.dead_letters}
        assert letters == self.scene.dead
        assert observed.gaps == []
        assert (await reconcile(deployment)).found == set()
        if workload:
            workload.assert_obeyed(observed)
        return observed

    async def end(self) -> None:
        """Every member ends in good order."""
        codes = await asyncio.gather(*(member.terminate() for member in self.scene.members))
        assert set(codes) == {0}
