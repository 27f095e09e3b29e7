"""Failpoints: named points in the processing of an event, at which a test can end the process as a power cut would."""

import os
import signal
from collections.abc import Callable

Failpoint = Callable[[str], None]
"""Called with the name of the point that is reached."""


def no_failpoints(_: str) -> None:
    """Does nothing: the `Failpoint` of every real deployment."""


def failpoint(kill_at: str) -> Failpoint:
    """A `Failpoint` that ends the process with SIGKILL at the n-th time of `name:n`; it does nothing for ""."""
    if not kill_at:
        return no_failpoints
    name, _, count = kill_at.partition(":")
    left = int(count or 1)

    def reach(point: str) -> None:
        nonlocal left
        if point == name:
            left -= 1
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return reach
