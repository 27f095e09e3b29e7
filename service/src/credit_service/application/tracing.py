"""What of an event's way can be traced; by default nothing is."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType
from typing import Protocol

from credit_service.application.ports import WaitingDeadLetter, WaitingEvent
from credit_service.application.record import Record

TRACEPARENT = "traceparent"
"""The header of W3C's trace context."""

Traceparents = Mapping[tuple[str, str, str], str]
"""By account, source and id of an event: where what follows from it goes on in its trace."""

Step = Callable[[str], None]
"""Hears of each step that is done."""


class BatchTrace(Protocol):
    """The trace of one batch."""

    @property
    def traceparents(self) -> Traceparents:
        """Of those events of the batch that came with a trace."""

    def transaction(self) -> AbstractContextManager[Step]:
        """One attempt to decide and store it, or a part of it."""


class Tracing(Protocol):
    """Makes traces."""

    def batch(self, records: Sequence[Record]) -> AbstractContextManager[BatchTrace]:
        """While `records` are decided; what is logged meanwhile names the trace."""

    def publication(self, rows: Sequence[WaitingEvent | WaitingDeadLetter]) -> AbstractContextManager[None]:
        """While `rows` are published; what is logged meanwhile names the trace."""


class _Untraced:
    """No traces."""

    traceparents: Traceparents = MappingProxyType({})

    def batch(self, _: Sequence[Record]) -> AbstractContextManager[BatchTrace]:
        return nullcontext(self)

    def transaction(self) -> AbstractContextManager[Step]:
        return nullcontext(lambda _: None)

    def publication(self, _: Sequence[WaitingEvent | WaitingDeadLetter]) -> AbstractContextManager[None]:
        return nullcontext()


UNTRACED = _Untraced()
