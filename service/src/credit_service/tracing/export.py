"""Sends spans to a collector by OTLP over HTTP, from a thread of its own; it does not delay the service."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from credit_service import bounds
from credit_service.tracing.spans import OtelTracing

log = structlog.get_logger(__name__)

SEND_EVERY_SECONDS = 1.0
SEND_SECONDS_MAX = 5.0
FLUSH_SECONDS_MAX = 2.0


@asynccontextmanager
async def tracing_to(endpoint: str) -> AsyncIterator[OtelTracing]:
    """Traces to the collector at `endpoint`, the address before `/v1/traces`.

    At the end the waiting spans are sent, if that does not take long.
    """
    # The exporter logs each failed attempt; `_LossLogger` logs the first one only.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
    exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=SEND_SECONDS_MAX)
    provider = TracerProvider(
        resource=Resource.create({"service.name": "credit-service", "service.version": version("credit-service")}),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(
        BatchSpanProcessor(
            _LossLogger(exporter),
            max_queue_size=bounds.SPANS_WAITING_MAX,
            max_export_batch_size=bounds.SPANS_SENT_MAX,
            schedule_delay_millis=SEND_EVERY_SECONDS * 1000,
        )
    )
    try:
        yield OtelTracing(provider.get_tracer("credit_service"))
    finally:
        await _ends_within(threading.Thread(target=provider.shutdown, daemon=True), FLUSH_SECONDS_MAX)


async def _ends_within(thread: threading.Thread, seconds: float) -> None:
    """Waits for the end of the thread, but no longer than `seconds`."""
    thread.start()
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while thread.is_alive() and loop.time() < until:  # noqa: ASYNC110 - a thread's end sets no event
        await asyncio.sleep(0.02)


class _LossLogger(SpanExporter):
    """Logs when spans begin to be lost, and when they are accepted again; without the collector's answer."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._loses = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Called from the exporter's thread."""
        result = self._exporter.export(spans)
        loses = result is not SpanExportResult.SUCCESS
        if loses and not self._loses:
            log.warning("traces are lost, the collector does not accept them")
        elif self._loses and not loses:
            log.info("traces are accepted again")
        self._loses = loses
        return result

    def shutdown(self) -> None:
        """Called at the end."""
        self._exporter.shutdown()
