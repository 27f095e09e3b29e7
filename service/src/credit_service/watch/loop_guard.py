"""Ends the process when its event loop is blocked.

A task of the loop cannot notice that, and a Python thread cannot run while C code holds the interpreter. So the alarm
of `faulthandler` is set, which needs neither; the loop postpones it as long as it runs.
"""

import asyncio
import contextlib
import faulthandler
from collections.abc import AsyncIterator

POSTPONE_SECONDS_MAX = 5.0


@contextlib.asynccontextmanager
async def guarded(seconds_max: float) -> AsyncIterator[None]:
    """A context in which the process ends if the loop is blocked for `seconds_max`.

    The stack of each thread is printed, without values, and the exit code is 1.
    """
    postponing = asyncio.create_task(_postpone(seconds_max))
    try:
        yield
    finally:
        postponing.cancel()
        faulthandler.cancel_dump_traceback_later()


async def _postpone(seconds_max: float) -> None:
    while True:
        faulthandler.dump_traceback_later(seconds_max, exit=True)
        await asyncio.sleep(min(POSTPONE_SECONDS_MAX, seconds_max / 4))
