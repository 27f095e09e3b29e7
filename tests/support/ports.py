"""Ports for what the tests start: each worker has its own, and takes one after the other.

A port is only free until somebody else has chosen it, and services bind theirs a second later.
"""

from __future__ import annotations

import os
import random
from itertools import cycle, islice

from credit_local_stack.ports import HOST, is_free

# Below those of the local stack.
_ALL = range(10_000, 15_000)


def of_worker(worker: int, workers: int) -> range:
    """The ports that this one of so many workers may take."""
    return _ALL[worker::workers]


def next_port() -> int:
    """A port that nobody listens on, and that was not taken here for long."""
    for port in islice(_turn, len(_MINE)):
        if is_free(port):
            return port
    raise OSError(f"none of the {len(_MINE)} ports of this worker on {HOST} is free")


_MINE = of_worker(
    int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")),
    int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")),
)
# Two runs on one machine do not begin with the same.
_turn = cycle(random.SystemRandom().sample(_MINE, len(_MINE)))
