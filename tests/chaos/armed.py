"""Named points on an event's way, armed while the service runs: the first process that comes there is killed."""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from credit_service.bootstrap import serve
from credit_service.runtime.failpoints import failpoint

if TYPE_CHECKING:
    from pathlib import Path

    from credit_service.runtime.failpoints import Failpoint


POINTS_OF_THE_LEDGER = ("before-transaction", "inside-transaction", "after-commit")
POINTS_OF_THE_RELAY = ("before-kafka-commit", "after-kafka-commit", "before-cleanup")
POINTS = POINTS_OF_THE_LEDGER + POINTS_OF_THE_RELAY


@dataclass(frozen=True)
class Trigger:
    """What all processes of one deployment look at: a file that says where to die, and is gone once one did."""

    path: Path

    @property
    def first(self) -> str:
        """The Python that a process executes before it begins."""
        return f"from pathlib import Path; from chaos.armed import Trigger; Trigger(Path({str(self.path)!r})).install()"

    def arm(self, point: str, count: int) -> None:
        """Has the first process that comes to the point for the `count`-th time from now on end there."""
        unfinished = self.path.with_suffix(".new")
        unfinished.write_text(f"{point}:{count}:{secrets.token_hex(4)}")
        unfinished.replace(self.path)

    def disarm(self) -> None:
        self.path.unlink(missing_ok=True)

    def install(self) -> None:
        """Puts it in the place of the service's own failpoints."""

        def armed(kill_at: str) -> Failpoint:
            assert not kill_at
            return Armed(self.path).reach

        setattr(serve, failpoint.__name__, armed)


@dataclass
class Armed:
    """The failpoints of one process."""

    _path: Path
    _order: str = ""
    _left: int = 0

    def reach(self, point: str) -> None:
        with suppress(FileNotFoundError):
            order = self._path.read_text()
            name, count, _ = order.split(":")
            if order != self._order:
                self._order, self._left = order, int(count)
            if point != name:
                return
            self._left -= 1
            if self._left <= 0:
                # Of two that come there at once, one can remove the file.
                self._path.unlink()
                failpoint(f"{point}:1")(point)
