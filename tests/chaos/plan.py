"""Which faults a run has, when, and on which member: drawn from its seed and from nothing else."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from chaos.armed import POINTS
from chaos.faults import (
    AccountLock,
    FlippedByte,
    Freeze,
    KillAtPoint,
    KillAtRandom,
    KillBroker,
    KillPostgres,
    ReadOnlySessions,
    Terminate,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chaos.faults import Fault

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "20"))

_AFTER_PORTIONS_MAX = 3


@dataclass(frozen=True)
class Strike:
    """A fault that is injected once so many portions of its section were sent, and healed so many seconds after it
    shows; unless the service is to recover, the next one comes at once.
    """

    fault: Fault
    after_portions: int = 0
    hold_seconds: float = 0.0
    recovers: bool = True


Kind: TypeAlias = "Callable[[random.Random, int], Fault]"
"""Draws a fault for so many members."""

ON_SHARED_SERVERS: dict[str, Kind] = {
    "kill at a point": lambda rng, _: KillAtPoint(rng.choice(POINTS), rng.randint(1, 3)),
    "kill at random": lambda rng, members: KillAtRandom(rng.randrange(members), rng.randint(1, 30)),
    "freeze": lambda rng, members: Freeze(rng.randrange(members)),
    "termination": lambda rng, members: Terminate(rng.randrange(members)),
    "lock": lambda _, __: AccountLock(),
    "read-only": lambda _, __: ReadOnlySessions(),
}
"""Faults of which nobody else on the same servers takes any notice."""

ON_OWN_SERVERS: dict[str, Kind] = {
    **ON_SHARED_SERVERS,
    "kill of Postgres": lambda _, __: KillPostgres(),
    "kill of the broker": lambda _, __: KillBroker(),
    "flipped byte": lambda _, __: FlippedByte(),
}


def new_seed() -> str:
    """The one that is given by CHAOS_SEED, or another each time."""
    return os.environ.get("CHAOS_SEED") or f"{random.getrandbits(32):08x}"


def chances(seed: str, of: str) -> random.Random:
    """The chances of one part of a run, so that parts of the same seed do not all draw the same."""
    return random.Random(f"{seed}:{of}")


def drawn(
    rng: random.Random, kinds: dict[str, Kind], count: int, *, members: int, hold_seconds_max: float = 0.0
) -> list[Strike]:
    """So many faults, of a kind again only after all others."""
    names: list[str] = []
    while len(names) < count:
        names += rng.sample(sorted(kinds), len(kinds))
    return [
        Strike(kinds[name](rng, members), rng.randint(0, _AFTER_PORTIONS_MAX), rng.uniform(0, hold_seconds_max))
        for name in names[:count]
    ]


def in_a_row(faults: Sequence[Fault]) -> list[Strike]:
    """One after the other, and nothing is waited for in between."""
    return [Strike(fault, recovers=False) for fault in faults]
