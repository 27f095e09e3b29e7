"""Checks the bearer token of a request; the tokens may change while the service runs."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import assert_never

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request

from credit_service.application.auth.tokens import Scope, Token, authorise
from credit_service.settings import SettingsError

log = structlog.get_logger(__name__)

READ_AGAIN_SECONDS = 5.0
_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*)", re.ASCII | re.IGNORECASE)
REALM = 'Bearer realm="credit-service"'


def wall_clock() -> datetime:
    """The machine's time: the end of a token must not depend on the database."""
    return datetime.now(UTC)


class Access:
    """Checks tokens for the read API; without any token it refuses every request."""

    def __init__(self, tokens: Sequence[Token], clock: Callable[[], datetime] = wall_clock) -> None:
        self.tokens = tokens
        self._clock = clock

    def check(self, request: Request, scope: Scope, account_id: str | None) -> None:
        """Raises 401 or 403 before the ledger is read, so that neither reveals whether an account exists."""
        sent = request.headers.getlist("authorization")
        match authorise(self.tokens, bearer(sent), scope, account_id, self._clock()):
            case "granted":
                return
            case "not-known":
                challenge = f'{REALM}, error="invalid_token"' if sent else REALM
                raise HTTPException(401, "a valid bearer token is needed", {"WWW-Authenticate": challenge})
            case "not-allowed":
                raise HTTPException(403, "this token does not open this")
            case never:
                assert_never(never)


def bearer(authorizations: Sequence[str]) -> str | None:
    """The token in the `Authorization` header; None if the header is missing, repeated, or of another scheme."""
    if len(authorizations) != 1:
        return None
    found = _BEARER.fullmatch(authorizations[0])
    return found[1] if found else None


@asynccontextmanager
async def kept_current(access: Access, load: Callable[[], Sequence[Token]]) -> AsyncIterator[None]:
    """Reloads the tokens every few seconds: a leaked token can be removed without a restart."""
    reading = asyncio.create_task(_load_again(access, load))
    try:
        yield
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def _load_again(access: Access, load: Callable[[], Sequence[Token]]) -> None:
    logged = None
    while True:
        await asyncio.sleep(READ_AGAIN_SECONDS)
        try:
            tokens = await asyncio.to_thread(load)
        except Exception as error:  # after any error, later changes of the tokens have to be loaded
            problem = str(error) if isinstance(error, SettingsError) else type(error).__name__
            if problem != logged:
                log.error("the tokens stay as they were", problem=problem)
            logged = problem
            continue
        logged = None
        if tokens != access.tokens:
            access.tokens = tokens
            log.info("tokens changed", tokens=[token.name for token in tokens])
