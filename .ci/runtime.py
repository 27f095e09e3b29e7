"""What the service installs at run time: its part of requirements.lock, on this system and this Python.

Run as a command it prints that part, hashes and all, for `pip install --require-hashes`.
"""

import re
import sys
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Final, NamedTuple

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

ROOT: Final = Path(__file__).resolve().parent.parent
LOCK: Final = ROOT / "requirements.lock"
OURS: Final = frozenset(map(canonicalize_name, ("credit-contracts", "credit-service", "credit-local-stack")))


class Pin(NamedTuple):
    """A package as the lock has it: its version, and the lines that say so."""

    name: NormalizedName
    version: str
    lines: str


def pins(lock: Path = LOCK) -> dict[NormalizedName, Pin]:
    """What the lock has for this system and this Python."""
    found = {}
    for lines in re.split(r"^(?=[^ ])", lock.read_text(), flags=re.MULTILINE)[1:]:
        requirement = Requirement(lines.split("\\", 1)[0])
        if requirement.marker is None or requirement.marker.evaluate():
            name = canonicalize_name(requirement.name)
            (exactly,) = requirement.specifier
            found[name] = Pin(name, exactly.version, lines)
    return found


def needs(requirement: Requirement) -> Iterator[Requirement]:
    """What an installed package needs by itself, with the extras that are asked for."""
    for line in distribution(requirement.name).requires or []:
        needed = Requirement(line)
        if needed.marker is None or any(
            needed.marker.evaluate({"extra": extra}) for extra in {"", *requirement.extras}
        ):
            yield needed


def graph(*roots: str) -> dict[NormalizedName, set[NormalizedName]]:
    """All that these need, each with what it needs itself."""
    found: dict[NormalizedName, set[NormalizedName]] = {}
    seen = set()
    ahead = [Requirement(root) for root in roots]
    while ahead:
        requirement = ahead.pop()
        name = canonicalize_name(requirement.name)
        if (name, frozenset(requirement.extras)) in seen:
            continue
        seen.add((name, frozenset(requirement.extras)))
        needed = list(needs(requirement))
        found.setdefault(name, set()).update(canonicalize_name(each.name) for each in needed)
        ahead += needed
    return found


def runtime() -> list[Pin]:
    """The pins of all that is installed with the service, in the order of the lock."""
    needed = graph("credit-service")
    return [pin for pin in pins().values() if pin.name in needed]


if __name__ == "__main__":
    sys.stdout.writelines(pin.lines for pin in runtime())
