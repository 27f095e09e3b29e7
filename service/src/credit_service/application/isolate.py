"""Finds the items of a batch that are refused, and takes all others."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Refusal = TypeVar("Refusal", bound=Exception)


async def isolate(
    items: Sequence[Item],
    attempt: Callable[[Sequence[Item]], Awaitable[int]],
    give_up: Callable[[Item, Refusal], Awaitable[None]],
    refusals: type[Refusal],
    *,
    attempts: int = 1,
    at_once: Callable[[int], int] = lambda number: number,
    progressed: Callable[[], None] = lambda: None,
) -> None:
    """Attempts all items in their order; those that are refused together are halved until one is at fault alone.

    `attempt` returns how many of its items it has taken: the first ones, or none where it took too long. Each part has
    so many `attempts`; what is refused alone is given up. `at_once` says how many of so many items are attempted
    together. `progressed` is called after each part of `items` that is done.
    """
    done = 0
    while left := items[done:]:
        part = left[: at_once(len(left))]
        for _ in range(attempts):
            try:
                taken = await attempt(part)
            except refusals as error:
                refusal = error
            else:
                break
        else:
            taken = max(1, len(part) // 2)
            if len(part) == 1:
                await give_up(part[0], refusal)
            else:
                await isolate(part[:taken], attempt, give_up, refusals, attempts=attempts, at_once=at_once)
        done += taken
        if taken:
            progressed()
