"""aiokafka's connection, which logs in again before the session that its broker gave it ends (KIP-368).

A broker closes a connection that speaks after its session has ended. aiokafka reads how long a session lasts, and does
nothing about it.
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
"""When of its session a connection logs in again: spread, so that those that began together do not do it together."""

STEP_SECONDS_MAX = 10.0
"""From an address to a connection, and from a request of the login to its answer: where nobody is any more, nobody says
so.
"""

METADATA_SECONDS_MAX = 10.0
"""So long a broker may take to tell of the others. To one that has gone without a word no connection is kept."""

SECONDS_BETWEEN_MIN = 1.0
"""Brokers let a connection log in again at any time, and then not within a second of when it last began to."""

TOKEN_AGAIN_SECONDS_MIN = 5.0
"""What is left of a session at least for another try to get a token."""

_UNEXPECTED = (CloseReason.CONNECTION_BROKEN, CloseReason.CONNECTION_TIMEOUT)
_OF_LOGIN = (SaslHandShakeRequest, SaslAuthenticateRequest)


class Connection(TokenConnection):
    """A connection with the login that `deployment` gives at the moment of each login.

    While it logs in again, what is sent is held, and goes out after in the same order. The broker answers one request
    of a connection after the other, and a login that comes behind a request that waits there is in time, however late:
    so what was sent before is answered first. A login that fails closes the connection, and its client makes another.
    """

    def __init__(
        self, host: str, port: int, deployment: KafkaConnection, request_timeout_ms: int, **options: Any
    ) -> None:
        self._held: deque[tuple[Any, bool, asyncio.Future[Any]]] | None = None
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
        """As aiokafka's, and no step of it takes longer than `STEP_SECONDS_MAX`."""
        self._request_timeout: float = min(self._seconds_max, STEP_SECONDS_MAX)
        try:
            streams = await super().connect()
        finally:
            self._request_timeout = self._seconds_max
        self._note_session()
        return streams

    def send(self, request: Any, expect_response: bool = True) -> Awaitable[Any]:
        """As aiokafka's; held while the connection logs in again, and bounded where it asks for the brokers."""
        if self._loop.time() >= self._due_at:
            # After a loop that stood, the timer may come behind this.
            self._begin()
        answer: Awaitable[Any]
        if self._held is not None and not isinstance(request, _OF_LOGIN):
            answer = self._hold(request, expect_response)
        else:
            answer = super().send(request, expect_response)
        if isinstance(request, MetadataRequest):
            return self._soon(answer)
        return self._noted(answer) if isinstance(request, SaslAuthenticateRequest) else answer

    def close(self, reason: CloseReason | None = None, exc: BaseException | None = None) -> Any:
        """As aiokafka's; nothing of a login, and nothing that is held, outlives it."""
        self._stop_timer()
        if self._again is not None and self._again is not asyncio.current_task(self._loop):
            # Before what it waits for fails: nobody would hear of that.
            self._again.cancel()
            if self._is_logging_in_again and reason in _UNEXPECTED:
                self._tell_that_it_ended()
        held, self._held = self._held, None
        closed = super().close(reason, exc)
        for _, _, future in held or ():
            if not future.done():
                error = KafkaConnectionError(f"Connection at {self._host}:{self._port} closed")
                error.__cause__ = exc
                future.set_exception(error)
        return closed

    async def _soon(self, answer: Awaitable[Any]) -> Any:
        """aiokafka would wait for as long as for any request, and keep the connection for the next time."""
        try:
            async with asyncio.timeout(METADATA_SECONDS_MAX):
                return await answer
        except TimeoutError as error:
            self.close(reason=CloseReason.CONNECTION_TIMEOUT, exc=error)
            raise

    async def _noted(self, answer: Awaitable[Any]) -> Any:
        """The last of the answers to a login has how long the session lasts, those before have 0."""
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
        # A token may take long to be had. While the session lasts, nothing has to wait for that.
        if not self._has_token_provider or self._loop.time() >= self._ends_at:
            self._held = deque()

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
            if self._held is None:
                self._held = deque()
            if before := [future for _, _, future in self._requests if not future.done()]:
                await asyncio.wait(before)
            if (early_seconds := self._not_before - self._loop.time()) > 0:
                await asyncio.sleep(early_seconds)
            self._is_logging_in_again = True
            async with asyncio.timeout(self._request_timeout):
                await self._do_sasl_handshake()
            # From its end on: the broker counts from when it has heard of its beginning.
            self._not_before = self._loop.time() + SECONDS_BETWEEN_MIN
        except Exception as error:  # whatever it is, nothing that is held may wait for ever
            self._give_up(error, is_another=self._sasl_plain_username != was)
        else:
            self._note_session()
            self._let_go()
        finally:
            self._is_logging_in_again = False
            self._again = None

    async def _has_token(self) -> bool:
        """Has a token made before anything is held; False if that is tried again later, while the session lasts."""
        try:
            await self._sasl_oauth_token_provider.token()
        except Exception as error:
            left_seconds = self._ends_at - self._loop.time()
            if left_seconds <= TOKEN_AGAIN_SECONDS_MIN:
                return True  # the login says what is wrong
            log.info("no token to log in to Kafka again, trying again", cause=type(error).__name__)
            self._log_in_again_in(left_seconds / 2)
            return False
        return True

    def _hold(self, request: Any, expect_response: bool) -> Awaitable[Any]:
        if self._writer is None or self._held is None:
            raise KafkaConnectionError(f"No connection to broker at {self._host}:{self._port}")
        future: asyncio.Future[Any] = self._loop.create_future()
        self._held.append((request, expect_response, future))
        answer: Awaitable[Any] = wait_for(future, self._request_timeout)
        return answer

    def _let_go(self) -> None:
        held, self._held = self._held, None
        for request, expect_response, future in held or ():
            if future.done():
                continue  # nobody waits for it any more
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
            self._tell_that_it_ended()
            return
        if is_another and isinstance(error, SaslAuthenticationFailed):
            # Brokers let nobody become another on a connection. Whether the login is a good one, the next one tells.
            log.info("another user logs in to Kafka, connecting anew", broker=f"{self._host}:{self._port}")
        else:
            problem = str(connection_error(error, self._deployment, self._host, self._port))
            log.warning("could not log in to Kafka again, connecting anew", problem=problem)
        self.close(reason=CloseReason.AUTH_FAILURE, exc=error)

    def _tell_that_it_ended(self) -> None:
        log.info("the connection ended while it logged in to Kafka again", broker=f"{self._host}:{self._port}")


def _when_due(connection: "weakref.ref[Connection]") -> None:
    if (due := connection()) is not None:
        due._begin()


async def connect(
    deployment: KafkaConnection, host: str, port: int, request_timeout_ms: int, **options: Any
) -> Connection:
    """A connection that is logged in; raises what kept it, as `connection_error` takes it."""
    connection = Connection(host, port, deployment, request_timeout_ms, **options)
    try:
        await connection.connect()
    except (KafkaError, OSError, EOFError):
        raise
    except Exception as error:  # no host's name, or an answer that aiokafka's logins assert, would end who waits
        raise BrokerUnavailable(f"{type(error).__name__} at {host}:{port}") from None
    return connection
