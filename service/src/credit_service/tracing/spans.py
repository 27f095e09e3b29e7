"""The spans of batches, of their events and transactions, and of publications."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import default_setter
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    Tracer,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from credit_service import bounds
from credit_service.application.kept_record import Headers
from credit_service.application.ports import WaitingDeadLetter, WaitingEvent
from credit_service.application.record import Record
from credit_service.application.tracing import TRACEPARENT, BatchTrace, MarkStep
from credit_service.domain.event import Incoming

_w3c = TraceContextTextMapPropagator()


@dataclass(frozen=True, slots=True)
class _Traced:
    """An event with the trace of its producer."""

    incoming: Incoming
    traceparent: str
    context: Context

    @property
    def span_context(self) -> SpanContext:
        return get_current_span(self.context).get_span_context()


@dataclass(slots=True)
class _BatchTrace:
    """The application's `BatchTrace`."""

    tracer: Tracer
    traceparents: dict[tuple[str, str, str], str] = field(default_factory=dict)

    @contextmanager
    def transaction(self) -> Iterator[MarkStep]:
        """See `application.tracing.BatchTrace`."""
        with _span(self.tracer, "credits transaction", SpanKind.CLIENT) as span:
            yield self._steps(set_span_in_context(span))

    def _steps(self, context: Context) -> MarkStep:
        began = time.time_ns()

        def step(name: str) -> None:
            nonlocal began
            now = time.time_ns()
            self.tracer.start_span(name, context, start_time=began).end(now)
            began = now

        return step


class OtelTracing:
    """The application's `Tracing`.

    A batch is a trace of its own, with links to those of its producers. In each producer's trace the event has a span,
    which is the parent of the published events. For events that are not sampled, or beyond the bound, the producer's
    span is the parent.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    @contextmanager
    def batch(self, records: Sequence[Record]) -> Iterator[BatchTrace]:
        """See `application.tracing.Tracing`."""
        traced = list(_traced(records))
        sampled = [one for one in traced if one.span_context.trace_flags.sampled][: bounds.LINKS_MAX]
        links = [Link(one.span_context) for one in sampled]
        with _span(self._tracer, "credits batch", SpanKind.CONSUMER, links, len(records)) as span, _named_in_logs(span):
            trace = _BatchTrace(self._tracer, {_key(one.incoming): one.traceparent for one in traced})
            began = [self._begin(one, span, trace) for one in sampled]
            try:
                yield trace
            finally:
                for of_event in began:
                    of_event.end()

    def _begin(self, event: _Traced, batch: Span, trace: _BatchTrace) -> Span:
        """The span of one event, in its producer's trace."""
        place = event.incoming.place
        span = self._tracer.start_span(
            f"process {event.incoming.type}",
            event.context,
            SpanKind.CONSUMER,
            links=[Link(batch.get_span_context())],
            attributes={
                "messaging.system": "kafka",
                "messaging.operation.type": "process",
                "messaging.destination.name": place.topic,
                "messaging.destination.partition.id": str(place.partition),
                "messaging.kafka.offset": place.offset,
            },
        )
        trace.traceparents[_key(event.incoming)] = _traceparent_of(set_span_in_context(span))
        return span

    @contextmanager
    def publication(self, rows: Sequence[WaitingEvent | WaitingDeadLetter]) -> Iterator[None]:
        """See `application.tracing.Tracing`."""
        traces = dict.fromkeys(row.trace for row in rows if isinstance(row, WaitingEvent) and row.trace)
        links = [Link(_span_context(trace)) for trace in list(traces)[: bounds.LINKS_MAX]]
        with _span(self._tracer, "credits publish", SpanKind.PRODUCER, links, len(rows)) as span, _named_in_logs(span):
            yield


@contextmanager
def _span(
    tracer: Tracer, name: str, kind: SpanKind, links: Sequence[Link] = (), messages: int | None = None
) -> Iterator[Span]:
    """A span in the current context; of an error it has the type alone, since messages may have values."""
    attributes: dict[str, str | int] = {}
    if messages is not None:
        attributes = {"messaging.system": "kafka", "messaging.batch.message_count": messages}
    with tracer.start_as_current_span(
        name, kind=kind, links=links, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield span
        except BaseException as error:
            span.set_status(StatusCode.ERROR, type(error).__name__)
            raise


@contextmanager
def _named_in_logs(span: Span) -> Iterator[None]:
    context = span.get_span_context()
    with structlog.contextvars.bound_contextvars(
        trace_id=f"{context.trace_id:032x}", span_id=f"{context.span_id:016x}"
    ):
        yield


def _key(incoming: Incoming) -> tuple[str, str, str]:
    return incoming.account_id, incoming.source, incoming.id


def _traced(records: Iterable[Record]) -> Iterator[_Traced]:
    """The events with a valid trace header; an invalid one counts as none."""
    for record in records:
        traceparent = _traceparent(record.headers)
        if traceparent is None or not isinstance(record.content, Incoming):
            continue
        context = _w3c.extract({TRACEPARENT: traceparent})
        if get_current_span(context) is not INVALID_SPAN:
            # Formatted again, since it is published, and a header may have any bytes after the fields that are read.
            yield _Traced(record.content, _traceparent_of(context), context)


def _traceparent(headers: Headers) -> str | None:
    for name, value in headers:
        if name == TRACEPARENT and value is not None and value.isascii():
            return value.decode()
    return None


def _traceparent_of(context: Context) -> str:
    carrier: dict[str, str] = {}
    _w3c.inject(carrier, context, default_setter)
    return carrier[TRACEPARENT]


def _span_context(traceparent: str) -> SpanContext:
    return get_current_span(_w3c.extract({TRACEPARENT: traceparent})).get_span_context()
