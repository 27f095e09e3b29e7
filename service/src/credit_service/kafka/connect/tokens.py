"""Tokens for logins to Kafka: one for all connections, renewed after 80 % of its life."""

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
"""Longer than the limit of a token endpoint, and shorter than clients wait for a broker."""
RENEWED_SECONDS_MAX: Final = 2.0
"""The wait for a new token while the old one is valid: a silent endpoint must not hold up each login."""
AGAIN_SECONDS: Final = 1.0
AGAIN_SECONDS_MAX: Final = 30.0
"""The pause after failures doubles up to this: an endpoint may lock out clients that request too often."""
LIFE_SECONDS_MAX: Final = 366 * 24 * 3600
# A bearer token of RFC 6750. Other characters could end the login's message, and begin another.
_BEARER = re.compile(r"[A-Za-z0-9._~+/-]{1,60000}=*", re.ASCII)


class NoToken(KafkaError):  # type: ignore[misc]  # noqa: N818 - reads as what happened
    """There is no token to log in with; the message names the setting, and repeats nothing of the answer."""

    def __str__(self) -> str:
        # Not as aiokafka's own, which begin with their type.
        return RuntimeError.__str__(self)


@dataclass(frozen=True, slots=True)
class LoginToken:
    """The text that is sent to brokers, and its life, counted from the request."""

    text: str = field(repr=False)
    life_seconds: float

    @classmethod
    def of(cls, setting: str, text: object, life_seconds: float) -> "LoginToken":
        """The token that `setting` has given, if it can be used; raises `NoToken`."""
        if not isinstance(text, str) or not _BEARER.fullmatch(text):
            raise NoToken(f"no token for Kafka: {setting} gives none that can be sent")
        if not 0 < life_seconds <= LIFE_SECONDS_MAX:
            raise NoToken(f"no token for Kafka: {setting} gives one that has ended, or does not say when it ends")
        return cls(text, life_seconds)


@dataclass(frozen=True, slots=True)
class _Current:
    token: LoginToken
    renewed_at: float
    ends_at: float


class Tokens(AbstractTokenProvider):  # type: ignore[misc]
    """The current token of all connections: `make` gets a new one, or raises `NoToken`.

    `source` names the setting behind `make`, for messages about a refused token.
    """

    def __init__(
        self, make: Callable[[], Awaitable[LoginToken]], source: str, extensions: Mapping[str, str] | None = None
    ) -> None:
        self.source = source
        self._make = make
        self._extensions = dict(extensions or {})
        self._current: _Current | None = None
        self._making: asyncio.Task[None] | None = None
        self._failure: NoToken | None = None
        self._not_before = 0.0
        self._again_seconds = AGAIN_SECONDS

    def extensions(self) -> dict[str, str]:
        """The extensions that are sent with the token."""
        return dict(self._extensions)

    async def token(self) -> str:
        """The current token, or a new one if it is due; while there is no new one, the old one until it ends.

        Raises `NoToken`, after a while even if a request is still under way.
        """
        if (current := self._current) and monotonic() < current.renewed_at:
            return current.token.text
        if self._making is None and monotonic() >= self._not_before:
            # A task of its own: it goes on for other callers when one is cancelled.
            self._making = asyncio.create_task(self._renew())
        if self._making is not None:
            lives = current is not None and monotonic() < current.ends_at
            await asyncio.wait({self._making}, timeout=RENEWED_SECONDS_MAX if lives else WAIT_SECONDS_MAX)
        if (current := self._current) and monotonic() < current.ends_at:
            return current.token.text
        raise self._failure or NoToken(f"no token for Kafka: {self.source} has not given one yet")

    def forget(self, token: str) -> None:
        """Drops a token that a broker has refused; another is requested, at most once a second.

        A late refusal on another connection does not drop the token that was requested meanwhile.
        """
        if self._current is not None and self._current.token.text == token:
            self._current = None
            self._not_before = max(self._not_before, monotonic() + AGAIN_SECONDS)
            self._failure = NoToken(f"no token for Kafka: a broker has refused that of {self.source}")

    async def _renew(self) -> None:
        requested_at = monotonic()
        failure = None
        try:
            token = await self._make()
            life = token.life_seconds
            self._current = _Current(token, requested_at + life * USED_OF_LIFE, requested_at + life)
        except NoToken as error:
            failure = error
        except Exception as error:  # a defect must not end the client's task that waits for a token
            log.exception("tokens for Kafka cannot be made")
            failure = NoToken(f"no token for Kafka: {type(error).__name__}")
        finally:
            self._making = None
        if failure is not None:
            self._not_before = monotonic() + self._again_seconds
            self._again_seconds = min(self._again_seconds * 2, AGAIN_SECONDS_MAX)
        else:
            self._not_before, self._again_seconds = 0.0, AGAIN_SECONDS
        self._report(failure)
        self._failure = failure

    def _report(self, failure: NoToken | None) -> None:
        if failure is not None and str(failure) != str(self._failure):
            log.warning("no token for Kafka", problem=str(failure))
        elif failure is None and self._failure is not None:
            log.info("there is a token for Kafka again")
