"""aiokafka's connection, which logs in again before its session at the broker ends (KIP-368).

A broker closes a connection that sends a request after its session has ended. aiokafka reads a session's length, but
ignores it.
"""

import asyncio
import random
import weakref
from collections import deque
from collections.abc import Awaitable
from typing import Any

import structlog
from aiokafka.conn import CloseReason
from aiokafka.errors import KafkaConnectionError, KafkaError, SaslAuthenticationFailed
from aiokafka.protocol.admin import SaslAuthenticateRequest, SaslHandShakeRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.util import wait_for

from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.connect.errors import BrokerUnavailable, connection_error
from credit_service.kafka.connect.token_login import TokenConnection

log = structlog.get_logger(__name__)

SHARE_OF_SESSION = (0.80, 0.85)
"""The part of its session after which a connection logs in again: random, so that not all do it at the same time."""

STEP_SECONDS_MAX = 10.0
"""The limit of connecting, and of each request of the login: a host that has gone does not answer at all."""

METADATA_SECONDS_MAX = 10.0
"""The limit of a metadata request: the connection to a broker that does not answer it is closed."""

SECONDS_BETWEEN_MIN = 1.0
"""Brokers refuse a login of a connection within a second of its last one."""

TOKEN_AGAIN_SECONDS_MIN = 5.0
"""The least rest of a session in which another attempt to get a token is made."""

_UNEXPECTED = (CloseReason.CONNECTION_BROKEN, CloseReason.CONNECTION_TIMEOUT)
_OF_LOGIN = (SaslHandShakeRequest, SaslAuthenticateRequest)


class Connection(TokenConnection):
    """A connection that reads the login from `deployment` at each login.

    While it logs in again, requests are queued, and sent afterwards in the same order. Requests that were sent before
    are answered first: the broker serves one request of a connection at a time, and a login behind a waiting request
    is in time, however late. A login that fails closes the connection, and its client opens another.
    """

    def __init__(
        self, host: str, port: int, deployment: KafkaConnection, request_timeout_ms: int, **options: Any
    ) -> None:
        self._queued: deque[tuple[Any, bool, asyncio.Future[Any]]] | None = None
        self._session_seconds = 0.0
        self._ends_at = self._due_at = float("inf")
        self._not_before = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._again: asyncio.Task[None] | None = None
        self._is_logging_in_again = False
        self._deployment = deployment
        self._seconds_max = request_timeout_ms / 1000
        super().__init__(host, port, request_timeout_ms=request_timeout_ms, **options, **deployment.login)

    async def connect(self) -> Any:
        """As aiokafka's, but no step takes longer than `STEP_SECONDS_MAX`."""
        self._request_timeout: float = min(self._seconds_max, STEP_SECONDS_MAX)
        try:
            streams = await super().connect()
        finally:
            self._request_timeout = self._seconds_max
        self._note_session()
        return streams

    def send(self, request: Any, expect_response: bool = True) -> Awaitable[Any]:
        """As aiokafka's; queued while the connection logs in again, and bounded for a metadata request."""
        if self._loop.time() >= self._due_at:
            # After the loop was blocked, the timer may run later than this.
            self._begin()
        answer: Awaitable[Any]
        if self._queued is not None and not isinstance(request, _OF_LOGIN):
            answer = self._queue(request, expect_response)
        else:
            answer = super().send(request, expect_response)
        if isinstance(request, MetadataRequest):
            return self._bounded(answer)
        return self._with_session(answer) if isinstance(request, SaslAuthenticateRequest) else answer

    def close(self, reason: CloseReason | None = None, exc: BaseException | None = None) -> Any:
        """As aiokafka's; ends the login, and fails the queued requests."""
        self._stop_timer()
        if self._again is not None and self._again is not asyncio.current_task(self._loop):
            # Before the requests that it waits for fail, whose errors it would swallow.
            self._again.cancel()
            if self._is_logging_in_again and reason in _UNEXPECTED:
                self._log_ended()
        queued, self._queued = self._queued, None
        closed = super().close(reason, exc)
        for _, _, future in queued or ():
            if not future.done():
                error = KafkaConnectionError(f"Connection at {self._host}:{self._port} closed")
                error.__cause__ = exc
                future.set_exception(error)
        return closed

    async def _bounded(self, answer: Awaitable[Any]) -> Any:
        """Bounds the answer: aiokafka would wait as for any request, and keep the connection."""
        try:
            async with asyncio.timeout(METADATA_SECONDS_MAX):
                return await answer
        except TimeoutError as error:
            self.close(reason=CloseReason.CONNECTION_TIMEOUT, exc=error)
            raise

    async def _with_session(self, answer: Awaitable[Any]) -> Any:
        """Notes the session's length, which the last answer to a login has; earlier ones have 0."""
        response = await answer
        self._session_seconds = getattr(response, "session_lifetime_ms", 0) / 1000
        return response

    def _note_session(self) -> None:
        if self._session_seconds <= 0 or self._writer is None:
            return
        self._ends_at = self._loop.time() + self._session_seconds
        share = random.uniform(*SHARE_OF_SESSION)  # noqa: S311 - nothing secret
        self._log_in_again_in(self._session_seconds * share)

    def _log_in_again_in(self, seconds: float) -> None:
        self._stop_timer()
        self._due_at = self._loop.time() + seconds
        self._timer = self._loop.call_later(seconds, _when_due, weakref.ref(self))

    def _stop_timer(self) -> None:
        self._due_at = float("inf")
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin(self) -> None:
        self._stop_timer()
        if self._writer is None or self._again is not None:
            return
        self._again = self._loop.create_task(self._log_in_again())
        # A new token may take long. While the session lasts, no request has to wait for it.
        if not self._has_token_provider or self._loop.time() >= self._ends_at:
            self._queued = deque()

    @property
    def _has_token_provider(self) -> bool:
        return bool(self._sasl_mechanism == "OAUTHBEARER")

    async def _log_in_again(self) -> None:
        was = self._sasl_plain_username
        try:
            login = self._deployment.login
            self._sasl_plain_username: Any = login.get("sasl_plain_username")
            self._sasl_plain_password = login.get("sasl_plain_password")
            self._sasl_oauth_token_provider: Any = login.get("sasl_oauth_token_provider")
            if self._has_token_provider and not await self._has_token():
                return
            if self._queued is None:
                self._queued = deque()
            if before := [future for _, _, future in self._requests if not future.done()]:
                await asyncio.wait(before)
            if (early_seconds := self._not_before - self._loop.time()) > 0:
                await asyncio.sleep(early_seconds)
            self._is_logging_in_again = True
            async with asyncio.timeout(self._request_timeout):
                await self._do_sasl_handshake()
            # From its end on: the broker counts from the beginning of the login.
            self._not_before = self._loop.time() + SECONDS_BETWEEN_MIN
        except Exception as error:  # of any kind: queued requests must not wait without limit
            self._give_up(error, is_another=self._sasl_plain_username != was)
        else:
            self._note_session()
            self._send_queued()
        finally:
            self._is_logging_in_again = False
            self._again = None

    async def _has_token(self) -> bool:
        """Gets a token before requests are queued; False if that is tried again later, while the session lasts."""
        try:
            await self._sasl_oauth_token_provider.token()
        except Exception as error:
            left_seconds = self._ends_at - self._loop.time()
            if left_seconds <= TOKEN_AGAIN_SECONDS_MIN:
                return True  # the login reports the error
            log.info("no token to log in to Kafka again, trying again", cause=type(error).__name__)
            self._log_in_again_in(left_seconds / 2)
            return False
        return True

    def _queue(self, request: Any, expect_response: bool) -> Awaitable[Any]:
        if self._writer is None or self._queued is None:
            raise KafkaConnectionError(f"No connection to broker at {self._host}:{self._port}")
        future: asyncio.Future[Any] = self._loop.create_future()
        self._queued.append((request, expect_response, future))
        answer: Awaitable[Any] = wait_for(future, self._request_timeout)
        return answer

    def _send_queued(self) -> None:
        queued, self._queued = self._queued, None
        for request, expect_response, future in queued or ():
            if future.done():
                continue  # its sender has stopped waiting
            try:
                super().send(request, expect_response).close()
            except Exception as error:
                future.set_exception(error)
                continue
            if expect_response:
                number, sent, _ = self._requests[-1]
                self._requests[-1] = (number, sent, future)
            else:
                future.set_result(None)

    def _give_up(self, error: Exception, *, is_another: bool) -> None:
        if isinstance(error, KafkaConnectionError):
            self._log_ended()
            return
        if is_another and isinstance(error, SaslAuthenticationFailed):
            # Brokers refuse another user on the same connection. The next connection shows whether the login is right.
            log.info("another user logs in to Kafka, connecting again", broker=f"{self._host}:{self._port}")
        else:
            problem = str(connection_error(error, self._deployment, self._host, self._port))
            log.warning("could not log in to Kafka again, reconnecting", problem=problem)
        self.close(reason=CloseReason.AUTH_FAILURE, exc=error)

    def _log_ended(self) -> None:
        log.info("the connection ended while it logged in to Kafka again", broker=f"{self._host}:{self._port}")


def _when_due(connection: "weakref.ref[Connection]") -> None:
    if (due := connection()) is not None:
        due._begin()


async def connect(
    deployment: KafkaConnection, host: str, port: int, request_timeout_ms: int, **options: Any
) -> Connection:
    """A connection that is logged in; raises the errors that `connection_error` takes."""
    connection = Connection(host, port, deployment, request_timeout_ms, **options)
    try:
        await connection.connect()
    except (KafkaError, OSError, EOFError):
        raise
    except Exception as error:  # such as an assertion in aiokafka's logins; it would end the caller's task
        raise BrokerUnavailable(f"{type(error).__name__} at {host}:{port}") from None
    return connection
