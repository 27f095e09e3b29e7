"""Faults as objects: each is injected into a scene, and healed again whatever became of it."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from support.foreign.at_rest import flip_a_byte
from support.locks import waiting_for_a_lock
from support.patience import patience
from support.topics import group_members
from support.wait import eventually

if TYPE_CHECKING:
    from chaos.scene import Connection, Scene
    from support.observed import Place

READ_ONLY = "the database takes no writes: it is read-only, SQLSTATE 25006"
FLIPPED_TOPIC = "prospect-transferred"

_POINT_SECONDS_MAX = 60
_SENT_AGAIN_SECONDS = 1.5


class Fault(Protocol):
    """Something that happens to a deployment.

    `inject` returns once it has happened and shows. `heal` is called once after each `inject`, also after one that
    failed half way.
    """

    @property
    def name(self) -> str: ...

    async def inject(self, scene: Scene) -> None: ...

    async def heal(self, scene: Scene) -> None: ...


async def _first_of(ends: set[asyncio.Task[int]]) -> set[asyncio.Task[int]]:
    """Those that have ended; none if that takes long."""
    ended, _ = await asyncio.wait(ends, timeout=patience(_SENT_AGAIN_SECONDS), return_when="FIRST_COMPLETED")
    return ended


@dataclass
class KillAtPoint:
    """SIGKILL, as by a power cut, of whichever member comes to a named point of an event's way first."""

    point: str
    count: int = 1

    @property
    def name(self) -> str:
        return f"kill at {self.point}:{self.count}"

    async def inject(self, scene: Scene) -> None:
        scene.trigger.arm(self.point, self.count)
        loop = asyncio.get_running_loop()
        until = loop.time() + patience(_POINT_SECONDS_MAX)
        ends = {asyncio.create_task(member.ended(_POINT_SECONDS_MAX)) for member in scene.members}
        try:
            while not (ended := await _first_of(ends)):
                assert loop.time() < until, f"nobody came to {self.point}"
                # All was decided before the point came so often.
                await scene.send_more(20)
            assert [end.result() for end in ended] == [-signal.SIGKILL]
        finally:
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)

    async def heal(self, scene: Scene) -> None:
        scene.trigger.disarm()
        await scene.deployment.forget_members()
        await scene.restart_the_ended()


@dataclass
class KillAtRandom:
    """SIGKILL of one member once so many messages more were decided."""

    member: int
    decided: int

    @property
    def name(self) -> str:
        return f"kill of member {self.member} after {self.decided} more"

    async def inject(self, scene: Scene) -> None:
        enough = await scene.taken_in() + self.decided

        async def is_enough() -> bool:
            if await scene.taken_in() >= enough:
                return True
            await scene.send_more(1)
            return False

        await eventually(is_enough, within_seconds=_POINT_SECONDS_MAX)
        await scene.members[self.member].kill()

    async def heal(self, scene: Scene) -> None:
        await scene.deployment.forget_members()
        await scene.restart_the_ended()


@dataclass
class Freeze:
    """SIGSTOP of one member for longer than its session in the group lasts, then SIGCONT."""

    member: int

    @property
    def name(self) -> str:
        return f"freeze of member {self.member} beyond its session"

    async def inject(self, scene: Scene) -> None:
        deployment = scene.deployment
        before = await group_members(deployment.kafka, deployment.group)
        scene.members[self.member].freeze()
        await deployment.forget_members()

        async def is_without_it() -> bool:
            now = await group_members(deployment.kafka, deployment.group)
            return len(now) == len(scene.members) - 1 and not now & before

        await eventually(is_without_it, what="the others without it")

    async def heal(self, scene: Scene) -> None:
        scene.members[self.member].thaw()


@dataclass
class Terminate:
    """SIGTERM of one member in the middle of its work, and a start anew."""

    member: int
    within_seconds: float = 40

    @property
    def name(self) -> str:
        return f"termination of member {self.member}"

    async def inject(self, scene: Scene) -> None:
        assert await scene.members[self.member].terminate(self.within_seconds) == 0

    async def heal(self, scene: Scene) -> None:
        await scene.restart_the_ended()


@dataclass
class AccountLock:
    """Another session holds the rows of all accounts while a batch is decided."""

    _blocker: Connection | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def name(self) -> str:
        return "lock on every account"

    async def inject(self, scene: Scene) -> None:
        self._blocker = await scene.connect()
        await self._blocker.execute("BEGIN; SELECT FROM credits.accounts ORDER BY account_id FOR UPDATE")
        await scene.send_more(1)
        await eventually(lambda: waiting_for_a_lock(self._blocker), what="a batch waits")

    async def heal(self, scene: Scene) -> None:  # noqa: ARG002 - others need it
        if self._blocker:
            self._blocker.terminate()


@dataclass
class ReadOnlySessions:
    """Sessions end; those that begin meanwhile stay read-only, as behind a proxy to the server of before."""

    @property
    def name(self) -> str:
        return "sessions on a read-only server"

    async def inject(self, scene: Scene) -> None:
        await _set(scene, "SET default_transaction_read_only = on")
        await scene.send_more(1)
        for part in ("ledger", "relay"):
            await scene.say(part, READ_ONLY)

    async def heal(self, scene: Scene) -> None:
        await _set(scene, "RESET default_transaction_read_only")


async def _set(scene: Scene, setting: str) -> None:
    """Of the database of the scene, for sessions to come; those that are there end."""
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()"
    connection = await scene.connect()
    try:
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute(f"ALTER DATABASE {name} {setting}")
        await connection.execute(others, name)
    finally:
        await connection.close()


@dataclass
class KillPostgres:
    """SIGKILL of Postgres while a transaction of the service is under way, and a start."""

    @property
    def name(self) -> str:
        return "kill of Postgres inside a transaction"

    async def inject(self, scene: Scene) -> None:
        blocker = await scene.connect()
        try:
            await blocker.execute("BEGIN; LOCK credits.decisions IN ACCESS EXCLUSIVE MODE")
            await scene.send_more(1)
            await eventually(lambda: waiting_for_a_lock(blocker), what="inside a transaction")
            await asyncio.to_thread(scene.own_stack.kill_postgres)
        finally:
            blocker.terminate()
        await scene.say("database")

    async def heal(self, scene: Scene) -> None:
        await asyncio.to_thread(scene.own_stack.start_postgres)


@dataclass
class KillBroker:
    """SIGKILL of the broker, and a start."""

    @property
    def name(self) -> str:
        return "kill of the broker"

    async def inject(self, scene: Scene) -> None:
        await asyncio.to_thread(scene.own_stack.kill_kafka)
        await scene.say("kafka")

    async def heal(self, scene: Scene) -> None:
        await asyncio.to_thread(scene.own_stack.start_kafka)


@dataclass
class FlippedByte:
    """A disk changes one byte of a batch: its checksum is wrong, until the byte is as it was."""

    place: Place | None = field(default=None, init=False, compare=False)
    _is_flipped: bool = field(default=False, init=False, repr=False, compare=False)

    @property
    def name(self) -> str:
        return "flipped byte in a batch"

    async def inject(self, scene: Scene) -> None:
        # Nobody reads the batch before its byte is flipped.
        await asyncio.gather(*(member.terminate() for member in scene.members))
        async with scene.deployment.upstream() as upstream:
            self.place = await upstream.send_raw(FLIPPED_TOPIC, b"a flipped byte", key=b"flipped")
        scene.dead.add(self.place)
        self._flip(scene, self.place)
        await scene.restart_the_ended()
        await scene.say("held", "{}/{} at offset {} (its checksum is wrong)".format(*self.place))

    async def heal(self, scene: Scene) -> None:
        if self.place and self._is_flipped:
            self._flip(scene, self.place)
        await scene.restart_the_ended()

    def _flip(self, scene: Scene, place: Place) -> None:
        flip_a_byte(scene.own_stack.data / "kafka", *place)
        self._is_flipped = not self._is_flipped
