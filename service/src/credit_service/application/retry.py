"""Attempts that are repeated while the ledger is away, and the pauses between them."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from credit_service.application.errors import LedgerUnavailable, OutOfTime

ATTEMPTS_MAX = 5
BACKOFF_SECONDS_FIRST = 0.1
BACKOFF_SECONDS_MAX = 5.0

T = TypeVar("T")


def backoff_seconds() -> Iterator[float]:
    """The pauses between attempts, without end: each is twice the one before, up to a maximum."""
    pause_seconds = BACKOFF_SECONDS_FIRST
    while True:
        yield pause_seconds
        pause_seconds = min(pause_seconds * 2, BACKOFF_SECONDS_MAX)


def with_jitter(seconds: float) -> float:
    """A random part of the pause, at least half of it, so that many clients do not return at once."""
    return random.uniform(0.5, 1) * seconds  # noqa: S311 - jitter


async def retry(
    attempt: Callable[[], Awaitable[T]], *, attempts_max: int = ATTEMPTS_MAX, can_be_less: bool = False
) -> T:
    """Repeats the attempt while the ledger is away, at most `attempts_max` times; the last error is raised.

    Where the work `can_be_less`, `OutOfTime` is raised at once.
    """
    for _, pause_seconds in zip(range(attempts_max - 1), backoff_seconds(), strict=False):
        try:
            return await attempt()
        except LedgerUnavailable as error:
            if can_be_less and isinstance(error, OutOfTime):
                raise
        await asyncio.sleep(pause_seconds)
    return await attempt()


async def retry_within(seconds: float, attempt: Callable[[], Awaitable[T]]) -> T:
    """Repeats the attempt while the ledger is away, for at most so many seconds; the last error is raised."""
    now = asyncio.get_running_loop().time
    give_up_at = now() + seconds
    for pause_seconds in backoff_seconds():
        try:
            return await attempt()
        except LedgerUnavailable:
            if now() + pause_seconds > give_up_at:
                raise
        await asyncio.sleep(with_jitter(pause_seconds))
    raise AssertionError  # the pauses have no end


async def is_set_within(event: asyncio.Event, seconds: float) -> bool:
    """Waits for the event for at most so many seconds; whether it is set."""
    if seconds > 0:
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return False
    return event.is_set()
