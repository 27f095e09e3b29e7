"""Counts the answers of the read API by operation and status, with their times; never by path or by client."""

import time
from collections.abc import Callable, Mapping
from itertools import product
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OTHER: Final = "other"
STATUSES: Final = ("200", "400", "401", "403", "404", "405", "413", "414", "431", "500", "503", OTHER)
SECONDS_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class AnswerMetrics:
    """Counts answers; `operations` names the operation of each endpoint, and all others count as `other`."""

    def __init__(self, app: ASGIApp, operations: Mapping[Callable[..., Any], str], registry: CollectorRegistry) -> None:
        self._app = app
        self._operations = operations
        self._answers = Counter(
            "credits_http_answers", "Answers of the read API", ["operation", "status"], registry=registry
        )
        self._seconds = Histogram(
            "credits_http_answer_seconds",
            "Time until an answer of the read API was sent",
            ["operation"],
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        names = (*operations.values(), OTHER)
        for operation, status in product(names, STATUSES):
            self._answers.labels(operation, status)
        for operation in names:
            self._seconds.labels(operation)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request to the application. A client that disconnects before the answer begins is not counted."""
        status = None

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        began = time.perf_counter()
        try:
            await self._app(scope, receive, answer)
        finally:
            if status is not None:
                # The router stores the endpoint; a request that is refused earlier has none.
                operation = self._operations.get(scope.get("endpoint"), OTHER)  # type: ignore[arg-type] # None is other
                self._answers.labels(operation, status if status in STATUSES else OTHER).inc()
                self._seconds.labels(operation).observe(time.perf_counter() - began)
