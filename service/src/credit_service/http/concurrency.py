"""How much the ledger is asked at the same time."""

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.exceptions import HTTPException

from credit_service import bounds


class Questions:
    """Those under way. Only who may ask is among them: nobody else can keep the others out."""

    def __init__(self) -> None:
        self._under_way = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """One more while the context is open; refused where there are too many."""
        if self._under_way >= bounds.QUESTIONS_UNDER_WAY_MAX:
            raise HTTPException(503, "too many requests at the same time", {"Retry-After": "1"})
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
