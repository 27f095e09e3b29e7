"""The result of one check, and the texts of lists, numbers and ages in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from credit_service import bounds

CheckState = Literal["ok", "warning", "wrong"]

NAMED_MAX = 5
"""How many things a line names; the others are counted."""
RECENT_SECONDS = 30 * 24 * 3_600.0
"""How long gaps and operations without an end are reported; their records are kept for good."""


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check: its state, a message, and what to do if it is not ok."""

    name: str
    state: CheckState
    message: str
    what_to_do: str | None = None


def ok(name: str, message: str) -> Check:
    """A check without a problem."""
    return Check(name, "ok", message)


def some(things: Sequence[str]) -> str:
    """The first things, separated by commas, and the number of the others."""
    more = len(things) - NAMED_MAX
    return ", ".join(things[:NAMED_MAX]) + (f" and {more:,} more" if more > 0 else "")


def counted(count: int) -> str:
    """The number, up to the bound of counting."""
    return f"{count:,}" if count < bounds.COUNTED_MAX else f"{bounds.COUNTED_MAX:,} or more"


def age(seconds: float) -> str:
    """The age in the largest unit that it has at least twice."""
    for name, unit in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * unit:
            return f"{seconds / unit:,.0f} {name}"
    return f"{seconds:.0f} s"
