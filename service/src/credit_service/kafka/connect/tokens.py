"""Tokens for logins to Kafka that end soon: used until 80 % of their lives, then made anew, once for all who ask."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

import structlog
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaError

log = structlog.get_logger(__name__)

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
