"""SIGKILL of `credits replay`, which is then run again."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from support.replays import start_replay
from support.small_bounds import as_faults
from support.wait import eventually

if TYPE_CHECKING:
    from chaos.scene import Scene

BATCH = 40
"""So many messages are replayed at once: so there is always something left to be killed in."""

_IN_SMALL_BATCHES = as_faults(REPLAY_BATCH_RECORDS_MAX=BATCH)
# Slow enough that the kill comes in time, and quick enough over what was replayed before.
_RATE = ("--rate", "400")
# So slow that a kill which comes two seconds late still finds much that is left.
_RATE_AT_RANDOM = ("--rate", "100")
_DECIDED = "SELECT count(*) FROM credits.decisions"


@dataclass
class KillReplayAtPoint:
    """A replay ends itself at a named point of an event's way."""

    point: str
    count: int

    @property
    def name(self) -> str:
        return f"kill of a replay at {self.point}:{self.count}"

    async def inject(self, scene: Scene) -> None:
        process = start_replay(scene.deployment, *_RATE, first=_IN_SMALL_BATCHES, kill_at=f"{self.point}:{self.count}")
        assert await process.wait() == -signal.SIGKILL

    async def heal(self, scene: Scene) -> None:
        """The next replay does."""


@dataclass
class KillReplayAtRandom:
    """A replay is killed once so many messages more were decided."""

    decided: int

    @property
    def name(self) -> str:
        return f"kill of a replay after {self.decided} more"

    async def inject(self, scene: Scene) -> None:
        connection = await scene.connect()
        try:
            enough = await connection.fetchval(_DECIDED) + self.decided

            async def has_decided() -> bool:
                return bool(await connection.fetchval(_DECIDED) >= enough)

            process = start_replay(scene.deployment, *_RATE_AT_RANDOM, first=_IN_SMALL_BATCHES)
            try:
                await eventually(has_decided, within_seconds=60)
            finally:
                process.send_signal(signal.SIGKILL)
            assert await process.wait() == -signal.SIGKILL
        finally:
            await connection.close()

    async def heal(self, scene: Scene) -> None:
        """The next replay does."""
