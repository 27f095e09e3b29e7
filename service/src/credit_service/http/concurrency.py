"""Limits how many requests read the ledger at the same time."""

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.exceptions import HTTPException

from credit_service import bounds


class ConcurrentReads:
    """Counts the reads of the ledger. Only authorised requests count: others cannot use up the limit."""

    def __init__(self) -> None:
        self._under_way = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Counts one read while the context is open; raises 503 if there are too many."""
        if self._under_way >= bounds.CONCURRENT_READS_MAX:
            raise HTTPException(503, "too many requests at the same time", {"Retry-After": "1"})
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
