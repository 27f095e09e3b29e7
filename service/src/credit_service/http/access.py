"""Who may read: the tokens in force, which may change while the service runs."""

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
    """The machine's time: when a token ends is no matter of the ledger's clock, and may not wait for a database."""
    return datetime.now(UTC)


class Access:
    """The door of the read API; without tokens it is closed."""

    def __init__(self, tokens: Sequence[Token], clock: Callable[[], datetime] = wall_clock) -> None:
        self.tokens = tokens
        self._clock = clock

    def check(self, request: Request, scope: Scope, account_id: str | None) -> None:
        """Raises 401 or 403 before the ledger is asked, so that neither tells whether an account exists."""
        shown = request.headers.getlist("authorization")
        match authorise(self.tokens, bearer(shown), scope, account_id, self._clock()):
            case "granted":
                return
            case "not-known":
                challenge = f'{REALM}, error="invalid_token"' if shown else REALM
                raise HTTPException(401, "a valid bearer token is needed", {"WWW-Authenticate": challenge})
            case "not-allowed":
                raise HTTPException(403, "this token does not open this")
            case never:
                assert_never(never)


def bearer(authorizations: Sequence[str]) -> str | None:
    """What is shown in the one `Authorization` header; None if there is none, several, or one of another kind."""
    if len(authorizations) != 1:
        return None
    shown = _BEARER.fullmatch(authorizations[0])
    return shown[1] if shown else None


@asynccontextmanager
async def kept_current(access: Access, load: Callable[[], Sequence[Token]]) -> AsyncIterator[None]:
    """Loads the tokens again and again, so that one that has leaked can be taken out without a restart."""
    reading = asyncio.create_task(_load_again(access, load))
    try:
        yield
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def _load_again(access: Access, load: Callable[[], Sequence[Token]]) -> None:
    said = None
    while True:
        await asyncio.sleep(READ_AGAIN_SECONDS)
        try:
            tokens = await asyncio.to_thread(load)
        except Exception as error:  # whatever it is, what is taken out after it has to be seen
            problem = str(error) if isinstance(error, SettingsError) else type(error).__name__
            if problem != said:
                log.error("the tokens stay as they were", problem=problem)
            said = problem
            continue
        said = None
        if tokens != access.tokens:
            access.tokens = tokens
            log.info("tokens changed", tokens=[token.name for token in tokens])
