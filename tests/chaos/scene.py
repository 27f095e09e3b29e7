"""What faults act on: the members of one deployment, its servers, and traffic to bring something about."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, TypeAlias

import asyncpg

from chaos.armed import Trigger
from credit_contracts.incoming import PlanChanged, ProspectGenerated
from support.observed import Observed, Progress
from support.patience import patience
from support.traffic import event
from support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from credit_local_stack import Stack
    from support.observed import Place
    from support.service import Deployment, ServiceProcess

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

PROBED = "probed"
"""The account of the traffic that faults bring in themselves."""

_TRIED_AGAIN_SOON = "from credit_service.kafka.consume import held_partitions; held_partitions.RETRY_SECONDS = 1.0"
_TAKEN_IN = "SELECT coalesce(sum(next_offset), 0)::bigint FROM credits.partition_offsets"


@dataclass
class Scene:
    """A deployment under test; `stack` are servers of its own, for faults that end servers; `faults` as of `start`."""

    deployment: Deployment
    stack: Stack | None = None
    settings: dict[str, str] = field(default_factory=dict)
    faults: str = ""
    members: list[ServiceProcess] = field(default_factory=list)
    dead: set[Place] = field(default_factory=set)
    resumed: int = 0
    _probes: Iterator[int] = field(default_factory=count)

    @property
    def trigger(self) -> Trigger:
        return Trigger(self.deployment.folder / "kill-at")

    @property
    def own_stack(self) -> Stack:
        assert self.stack is not None, "this fault ends servers: it needs some that nobody else uses"
        return self.stack

    async def begin(self, members: int) -> None:
        """Starts so many, and waits until they are ready and have decided something; without any, that is nothing."""
        if not members:
            return
        await asyncio.gather(*(self.start() for _ in range(members)))
        await self.send_more(1)
        await self.ready()
        await eventually(self._has_an_account, what="something decided")

    async def start(self) -> ServiceProcess:
        """One member more."""
        faults = "; ".join(filter(None, [self.trigger.first, _TRIED_AGAIN_SOON, self.faults]))
        started = await self.deployment.start(faults=faults, **{"batch_records_max": "20"} | self.settings)
        self.members.append(started)
        return started

    async def restart_the_ended(self) -> None:
        """Starts one for each that has ended, in its place."""
        for place, member in enumerate(self.members):
            if not member.runs:
                await self.start()
                self.members[place] = self.members.pop()

    async def ready(self) -> None:
        for member in self.members:
            await member.ready()

    async def say(self, part: str, words: str = "") -> None:
        """Waits until one of the members says that this part is not well or waits for a person, in these words."""

        async def is_said() -> bool:
            told = [await member.problems() | await member.degraded() for member in self.members if member.runs]
            return any(part in problems and words in problems[part] for problems in told)

        await eventually(is_said, what=f"{part} to say: {words}")

    async def send_more(self, charges: int = 30) -> None:
        """Charges of an account of their own, one after the other; some are declined."""
        at = datetime.now(UTC) - timedelta(minutes=30)
        plan = event(PlanChanged(account_id=PROBED, plan_id="p", monthly_credits=100), at, "probed-plan")
        numbers = [next(self._probes) for _ in range(charges)]
        async with self.deployment.upstream() as upstream:
            await upstream.send([plan])
            for number in numbers:
                data = ProspectGenerated(account_id=PROBED, prospect_id=f"probe-{number}")
                await upstream.send([event(data, at + timedelta(seconds=1), f"probe-{number}")])

    async def connect(self) -> Connection:
        """A session that may write, whatever others may."""
        settings = {"default_transaction_read_only": "off"}
        return await asyncpg.connect(self.deployment.database_url, timeout=patience(10), server_settings=settings)

    async def well(self, within_seconds: float) -> None:
        """Waits until every member is ready and the lag is zero."""
        await self.ready()
        lags = "not asked yet"
        deployment = self.deployment
        async with Progress(deployment.database_url, deployment.kafka, deployment.group, deployment.prefix) as progress:

            async def is_well() -> bool:
                nonlocal lags
                lags = lag_of(await progress.look())
                return not lags

            try:
                await eventually(is_well, within_seconds=within_seconds)
            except AssertionError as error:
                raise AssertionError(f"not without lag within {within_seconds} s: {lags}") from error

    async def taken_in(self) -> int:
        """How many messages were decided."""
        connection = await self.connect()
        try:
            taken: int = await connection.fetchval(_TAKEN_IN)
            return taken
        finally:
            await connection.close()

    async def _has_an_account(self) -> bool:
        connection = await self.connect()
        try:
            return bool(await connection.fetchval("SELECT true FROM credits.accounts WHERE account_id = $1", PROBED))
        finally:
            await connection.close()


def lag_of(observed: Observed) -> str:
    """What of all that was sent is not decided or not published; empty when nothing is."""
    stored = observed.stored()
    behind = [place for place, end in observed.ends.items() if end != stored.get(place, 0)]
    return f"behind in {behind}" if behind else f"{len(observed.outbox)} rows in the outbox" if observed.outbox else ""
