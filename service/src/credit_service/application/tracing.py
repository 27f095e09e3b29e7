"""The port of tracing; by default nothing is traced."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType
from typing import Protocol

from credit_service.application.ports import WaitingDeadLetter, WaitingEvent
from credit_service.application.record import Record

TRACEPARENT = "traceparent"
"""The header of W3C's trace context."""

Traceparents = Mapping[tuple[str, str, str], str]
"""The trace context of each event, by account, source and id: its effects continue that trace."""

MarkStep = Callable[[str], None]
"""Called with the name of each step that is done."""


class BatchTrace(Protocol):
    """The trace of one batch."""

    @property
    def traceparents(self) -> Traceparents:
        """The contexts of the batch's events that carry one."""

    def transaction(self) -> AbstractContextManager[MarkStep]:
        """A span of one attempt to decide and store the batch, or a part of it."""


class Tracing(Protocol):
    """Creates traces."""

    def batch(self, records: Sequence[Record]) -> AbstractContextManager[BatchTrace]:
        """The trace while `records` are decided; log lines within name it."""

    def publication(self, rows: Sequence[WaitingEvent | WaitingDeadLetter]) -> AbstractContextManager[None]:
        """The trace while `rows` are published; log lines within name it."""


class _Untraced:
    """No traces."""

    traceparents: Traceparents = MappingProxyType({})

    def batch(self, _: Sequence[Record]) -> AbstractContextManager[BatchTrace]:
        return nullcontext(self)

    def transaction(self) -> AbstractContextManager[MarkStep]:
        return nullcontext(lambda _: None)

    def publication(self, _: Sequence[WaitingEvent | WaitingDeadLetter]) -> AbstractContextManager[None]:
        return nullcontext()


UNTRACED = _Untraced()
