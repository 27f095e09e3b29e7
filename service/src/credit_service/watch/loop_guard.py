"""Ends the process when its event loop no longer turns.

What is asked in the loop cannot tell that the loop stands, and a thread of Python's own cannot run while C code holds
the interpreter. So the interpreter's own alarm is set, which needs neither; the loop puts it off as long as it turns.
"""

import asyncio
import contextlib
import faulthandler
from collections.abc import AsyncIterator

TURN_SECONDS_MAX = 5.0


@contextlib.asynccontextmanager
async def guarded(seconds_max: float) -> AsyncIterator[None]:
    """While this is open, a loop that stands for `seconds_max` ends the process.

    It shows where each thread stands, without values, and the exit code is 1.
    """
    turning = asyncio.create_task(_turn(seconds_max))
    try:
        yield
    finally:
        turning.cancel()
        faulthandler.cancel_dump_traceback_later()


async def _turn(seconds_max: float) -> None:
    while True:
        faulthandler.dump_traceback_later(seconds_max, exit=True)
        await asyncio.sleep(min(TURN_SECONDS_MAX, seconds_max / 4))
