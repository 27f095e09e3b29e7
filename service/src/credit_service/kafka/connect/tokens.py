"""Tokens for logins to Kafka that end soon: used until 80 % of their lives, then made anew, once for all who ask."""

import asyncio
import json
import re
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final

import structlog
from aiokafka.abc import AbstractTokenProvider
from aiokafka.conn import AIOKafkaConnection, OAuthAuthenticator
from aiokafka.errors import KafkaError, SaslAuthenticationFailed

from credit_service.runtime.programs import ProgramFailed, printed_by

log = structlog.get_logger(__name__)

COMMAND: Final = "CREDITS_KAFKA_TOKEN_COMMAND"
USED_OF_LIFE: Final = 0.8
WAIT_SECONDS_MAX: Final = 12.0
"""Longer than a token endpoint is given, and shorter than those who look for brokers are patient."""
RENEWED_SECONDS_MAX: Final = 2.0
"""So long who has a token that still lives waits for the next: an endpoint that is silent would hold up each login."""
AGAIN_SECONDS: Final = 1.0
AGAIN_SECONDS_MAX: Final = 30.0
"""What the pause after failures grows to, twofold each time: an endpoint that counts requests may lock out who asks."""
LIFE_SECONDS_MAX: Final = 366 * 24 * 3600
# As RFC 6750 has a bearer token. Anything else could end the login's message, and begin another.
_BEARER = re.compile(r"[A-Za-z0-9._~+/-]{1,60000}=*", re.ASCII)
_ENDS = ("expires_at", "expires_in")


class NoToken(KafkaError):  # type: ignore[misc]  # noqa: N818 - reads as what happened
    """There is no token to log in with; one line that names the setting, and holds nothing of what was answered."""

    def __str__(self) -> str:
        # Not as aiokafka's own, which begin with their type.
        return RuntimeError.__str__(self)


@dataclass(frozen=True, slots=True)
class Token:
    """What is shown to brokers, and how long it lives from when it was asked for."""

    text: str = field(repr=False)
    life_seconds: float

    @classmethod
    def of(cls, setting: str, text: object, life_seconds: float) -> "Token":
        """The token that was made as `setting` says, if it can be used; raises `NoToken`."""
        if not isinstance(text, str) or not _BEARER.fullmatch(text):
            raise NoToken(f"no token for Kafka: {setting} gives none that can be sent")
        if not 0 < life_seconds <= LIFE_SECONDS_MAX:
            raise NoToken(f"no token for Kafka: {setting} gives one that has ended, or does not say when it ends")
        return cls(text, life_seconds)


@dataclass(frozen=True, slots=True)
class _Held:
    token: Token
    renewed_at: float
    ends_at: float


class Tokens(AbstractTokenProvider):  # type: ignore[misc]
    """The token in force, for all connections: `make` gives one, or raises `NoToken`.

    `told_of` says what `make` is made of, for when a broker refuses its token.
    """

    def __init__(
        self, make: Callable[[], Awaitable[Token]], source: str, extensions: Mapping[str, str] | None = None
    ) -> None:
        self.source = source
        self._make = make
        self._extensions = dict(extensions or {})
        self._held: _Held | None = None
        self._making: asyncio.Task[None] | None = None
        self._failure: NoToken | None = None
        self._not_before = 0.0
        self._again_seconds = AGAIN_SECONDS

    def extensions(self) -> dict[str, str]:
        """What is sent beside the token."""
        return dict(self._extensions)

    async def token(self) -> str:
        """The token in force, a new one if it is time; while that cannot be had, the old until it ends.

        Raises `NoToken`, after a while also where one may still come.
        """
        if (held := self._held) and monotonic() < held.renewed_at:
            return held.token.text
        if self._making is None and monotonic() >= self._not_before:
            # A task of its own: it goes on for the others when one who asked gives up.
            self._making = asyncio.create_task(self._renew())
        if self._making is not None:
            lives = held is not None and monotonic() < held.ends_at
            await asyncio.wait({self._making}, timeout=RENEWED_SECONDS_MAX if lives else WAIT_SECONDS_MAX)
        if (held := self._held) and monotonic() < held.ends_at:
            return held.token.text
        raise self._failure or NoToken(f"no token for Kafka: {self.source} has not given one yet")

    def forget(self, token: str) -> None:
        """A broker has refused this token: the next who asks gets another, but not more often than every second.

        Who is told late, on another connection, does not take from all others the one that was made meanwhile.
        """
        if self._held is not None and self._held.token.text == token:
            self._held = None
            self._not_before = max(self._not_before, monotonic() + AGAIN_SECONDS)
            self._failure = NoToken(f"no token for Kafka: a broker has refused that of {self.source}")

    async def _renew(self) -> None:
        asked_at = monotonic()
        failure = None
        try:
            token = await self._make()
            life = token.life_seconds
            self._held = _Held(token, asked_at + life * USED_OF_LIFE, asked_at + life)
        except NoToken as error:
            failure = error
        except Exception as error:  # a defect must not end the client's task that wanted a token
            log.exception("tokens for Kafka cannot be made")
            failure = NoToken(f"no token for Kafka: {type(error).__name__}")
        finally:
            self._making = None
        if failure is not None:
            self._not_before = monotonic() + self._again_seconds
            self._again_seconds = min(self._again_seconds * 2, AGAIN_SECONDS_MAX)
        else:
            self._not_before, self._again_seconds = 0.0, AGAIN_SECONDS
        self._tell(failure)
        self._failure = failure

    def _tell(self, failure: NoToken | None) -> None:
        if failure is not None and str(failure) != str(self._failure):
            log.warning("no token for Kafka", problem=str(failure))
        elif failure is None and self._failure is not None:
            log.info("there is a token for Kafka again")


class TellingConnection(AIOKafkaConnection):  # type: ignore[misc]
    """A connection that hears that its token is refused, which is not shown again then.

    aiokafka takes the broker's answer for a success, whatever it says: the connection then ends without a reason.
    """

    _asking: "AskingAuthenticator | None" = None
    has_warned = False

    def authenticator_oauth(self) -> OAuthAuthenticator:
        """See aiokafka, which warns of a password that is sent so, and not of a token."""
        if self._security_protocol == "SASL_PLAINTEXT" and not TellingConnection.has_warned:
            TellingConnection.has_warned = True
            log.warning("tokens are sent to Kafka in the clear", setting="CREDITS_KAFKA_SECURITY_PROTOCOL")
        self._asking = AskingAuthenticator(sasl_oauth_token_provider=self._sasl_oauth_token_provider)
        return self._asking

    async def _do_sasl_handshake(self) -> None:
        try:
            await super()._do_sasl_handshake()
        except SaslAuthenticationFailed:
            if isinstance(self._sasl_oauth_token_provider, Tokens) and self._asking is not None:
                self._sasl_oauth_token_provider.forget(self._asking.shown)
            raise
        finally:
            self._asking = None


class AskingAuthenticator(OAuthAuthenticator):  # type: ignore[misc]
    """Goes on as RFC 7628 wants when the broker answers with a fault, which is then told as a refusal."""

    _has_asked = False
    shown = ""

    def _build_oauth_client_request(self, token: str, token_extensions: str) -> str:
        self.shown = token
        return str(super()._build_oauth_client_request(token, token_extensions))

    async def step(self, payload: bytes | None) -> tuple[bytes, bool] | None:
        """See aiokafka."""
        if self._token_sent and payload and not self._has_asked:
            self._has_asked = True
            return b"\x01", True
        answer: tuple[bytes, bool] | None = await super().step(payload)
        return answer


async def from_command(command: str) -> Token:
    """Runs the program, and reads the token that it prints as JSON; raises `NoToken`."""
    try:
        printed = await _in_a_thread(lambda: printed_by(command))
    except ProgramFailed as error:
        raise NoToken(f"no token for Kafka: {COMMAND}: {error}") from None
    return read_printed(printed, datetime.now(UTC))


def read_printed(printed: str, now: datetime) -> Token:
    """The token in `{"token": "...", "expires_at": "RFC 3339"}`, or with `"expires_in": seconds`; `NoToken` else."""
    wrong = NoToken(f"no token for Kafka: {COMMAND} does not print JSON with token, and expires_at or expires_in")
    try:
        said = json.loads(printed)
    except (ValueError, RecursionError):
        raise wrong from None
    if not isinstance(said, dict) or not any(said.keys() == {"token", end} for end in _ENDS):
        raise wrong
    life = _life(said.get("expires_in")) if "expires_in" in said else _until(said["expires_at"], now)
    if life is None:
        raise wrong
    return Token.of(COMMAND, said["token"], life)


def _life(seconds: object) -> float | None:
    return float(seconds) if isinstance(seconds, int | float) and not isinstance(seconds, bool) else None


def _until(instant: object, now: datetime) -> float | None:
    try:
        ends_at = datetime.fromisoformat(instant) if isinstance(instant, str) else None
    except ValueError:
        return None
    return (ends_at - now).total_seconds() if ends_at and ends_at.tzinfo else None


async def _in_a_thread(work: Callable[[], str]) -> str:
    """As `asyncio.to_thread`, whose threads the end of the service would wait for."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[str] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as raised:  # it belongs to whoever waits
            error = raised
        # There is no loop any more when the service has ended meanwhile.
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, daemon=True, name="kafka-token").start()
    return await done
