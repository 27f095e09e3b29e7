"""Waiting for a condition."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, TypeVar, overload

from support.patience import patience

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

# What comes soon is seen soon; what takes long is not asked about all the time.
_PAUSE_SECONDS_FIRST, _PAUSE_SECONDS_MAX, _PAUSE_GROWS_BY = 0.005, 0.1, 1.5
_GRACE_SECONDS = 30


@overload
async def eventually(
    check: Callable[[], Coroutine[object, object, T]], *, within_seconds: float = 30, what: str = ""
) -> T: ...
@overload
async def eventually(check: Callable[[], T], *, within_seconds: float = 30, what: str = "") -> T: ...
async def eventually(check: Callable[[], object], *, within_seconds: float = 30, what: str = "") -> object:
    """Ask until the answer is truthy, and return it; an exception counts as "not yet". The limit is as `patience` says.

    A check in its midst at the limit may end: an aiokafka client that is cancelled while it starts leaves its sockets
    open, which a later test is blamed for.
    """
    loop = asyncio.get_running_loop()
    seconds_max = patience(within_seconds)
    deadline = loop.time() + seconds_max
    pause_seconds = _PAUSE_SECONDS_FIRST
    while True:
        last: object
        cause: Exception | None = None
        try:
            async with asyncio.timeout_at(deadline + patience(_GRACE_SECONDS)):
                answer = check()
                value = await answer if inspect.isawaitable(answer) else answer
            if value:
                return value
            last = value
        except Exception as error:
            last, cause = error, error
        if loop.time() >= deadline:
            raise AssertionError(f"not within {seconds_max:g} s: {what or check}; last: {last!r}") from cause
        await asyncio.sleep(pause_seconds)
        pause_seconds = min(pause_seconds * _PAUSE_GROWS_BY, _PAUSE_SECONDS_MAX)
