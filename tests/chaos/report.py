"""What was done to the service in a run, and how long it took to be well again."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_WIDTHS = (52, 10, 10, 10)


@dataclass
class Struck:
    """One fault, its times in seconds since the run began; None is what did not happen."""

    name: str
    began: float
    injected: float | None = None
    healed: float | None = None
    well: float | None = None
    error: str = ""

    @property
    def is_over(self) -> bool:
        """Whether it was injected and healed, without an error."""
        return self.injected is not None and self.healed is not None and not self.error

    @property
    def recovery_seconds(self) -> float | None:
        """From the heal until every member was ready and the lag was zero; None if nobody waited for that."""
        return None if self.well is None or self.healed is None else self.well - self.healed


@dataclass
class Report:
    """The faults of one run, in the order in which they were injected."""

    seed: str
    struck: list[Struck] = field(default_factory=list)
    clock: Callable[[], float] = time.monotonic
    _began: float = field(init=False)

    def __post_init__(self) -> None:
        self._began = self.clock()

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return self.clock() - self._began

    def begin(self, name: str) -> Struck:
        """A fault is about to be injected."""
        self.struck.append(Struck(name, self.seconds))
        return self.struck[-1]

    def assert_all_over(self, count: int) -> None:
        """So many faults were injected, and all of them healed."""
        left = [one for one in self.struck if not one.is_over]
        assert not left, f"not injected and healed: {left}"
        assert len(self.struck) == count, f"{len(self.struck)} faults, not {count}"

    def table(self) -> str:
        """A line a fault; `well after` is what `recovery_seconds` says."""
        lines = [f"CHAOS_SEED={self.seed}", _line("fault", "injected", "healed", "well after")]
        for one in self.struck:
            lines.append(_line(one.name, _at(one.injected), _at(one.healed), _at(one.recovery_seconds)))
            if one.error:
                lines.append(f"    {one.error}")
        return "\n".join(lines)


def _at(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.1f} s"


def _line(*cells: str) -> str:
    first, *others = (cell.rjust(width) for cell, width in zip(cells, _WIDTHS, strict=True))
    return "  ".join([first.strip().ljust(_WIDTHS[0]), *others])
