"""Waiting letters in order of occurrence, in batches of bounded number and size."""

from collections.abc import AsyncGenerator, Sequence

from credit_service import bounds
from credit_service.application.dead_letters.model import LetterRecord, Letters, LetterStore
from credit_service.domain.event import Order

_Key = tuple[Order, int, int]
"""Order of occurrence, the letter's number, and its size."""


async def in_order(store: LetterStore, which: Letters, up_to: int, letters_max: int) -> AsyncGenerator[list[int]]:
    """The numbers of waiting letters in order of occurrence, in batches; then those of `which` that do not wait."""
    seen: set[int] = set()
    last: _Key | None = None
    while True:
        found: list[_Key] = []
        async for block in store.waiting(which, up_to):
            found += [key for key in map(_key, block) if last is None or key > last]
            if len(found) > 2 * bounds.LETTERS_ORDERED_MAX:
                found = sorted(found)[: bounds.LETTERS_ORDERED_MAX]
        found = sorted(found)[: bounds.LETTERS_ORDERED_MAX]
        for batch in _batches_of(found, letters_max):
            seen.update(batch if which.ids is not None else ())
            yield batch
        if len(found) < bounds.LETTERS_ORDERED_MAX:
            break
        last = found[-1]
    if left := [i for i in which.ids or () if i not in seen]:
        yield left


def _key(letter: LetterRecord) -> _Key:
    return letter.record.order, letter.dead_letter_id, letter.record.size_bytes


def _batches_of(keys: Sequence[_Key], letters_max: int) -> list[list[int]]:
    batches: list[list[int]] = []
    size_bytes = 0
    for _, dead_letter_id, more_bytes in keys:
        if not batches or len(batches[-1]) >= letters_max or size_bytes + more_bytes > bounds.LETTER_BATCH_BYTES_MAX:
            batches.append([])
            size_bytes = 0
        batches[-1].append(dead_letter_id)
        size_bytes += more_bytes
    return batches
