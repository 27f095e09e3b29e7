"""The tokens of the read API, their scopes, and whether a token grants a request.

A token is 256 random bits, so there is nothing to guess and nothing to look up: its plain SHA-256 is kept, without the
salt and the slowness that passwords need.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from credit_contracts.ids import AccountId
from credit_contracts.times import Instant
from credit_service.application.auth.scopes import Scope as Scope

TOKENS_MAX: Final = 100
# The prefix lets secret scanners find tokens.
_PREFIX: Final = "credits_"
_TOKEN = re.compile(rf"{_PREFIX}[A-Za-z0-9_-]{{43}}", re.ASCII)


class Token(BaseModel):
    """A token as the service keeps it: its hash, not its text. With an account, it grants that one alone."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", repr=False)]
    scopes: Annotated[frozenset[Scope], Field(min_length=1)]
    account_id: AccountId | None = None
    expires_at: Instant | None = None

    def entry(self) -> dict[str, Any]:
        """The token's entry in the setting."""
        entry = self.model_dump(mode="json", exclude_none=True)
        return entry | {"scopes": sorted(entry["scopes"])}


Access: TypeAlias = Literal["granted", "not-known", "not-allowed"]
"""The result of a request: granted; a missing, unknown or expired token; a token that does not grant it."""

_tokens: TypeAdapter[tuple[Token, ...]] = TypeAdapter(Annotated[tuple[Token, ...], Field(max_length=TOKENS_MAX)])


def authorise(
    tokens: Iterable[Token], shown: str | None, scope: Scope, account_id: str | None, now: datetime
) -> Access:
    """Whether the token `shown` grants `scope` of the account; the ledger's content makes no difference."""
    token = _known(tokens, shown)
    if token is None or (token.expires_at is not None and token.expires_at <= now):
        return "not-known"
    if scope not in token.scopes or token.account_id not in (None, account_id):
        return "not-allowed"
    return "granted"


def _known(tokens: Iterable[Token], shown: str | None) -> Token | None:
    if shown is None or not _TOKEN.fullmatch(shown):
        return None
    digest, found = sha256_of(shown), None
    # All of them, each in the same time: the duration reveals nothing about the known tokens.
    for token in tokens:
        if hmac.compare_digest(digest, token.sha256):
            found = token
    return found


def new_token() -> str:
    """A new random token."""
    return _PREFIX + secrets.token_urlsafe(32)


def sha256_of(token: str) -> str:
    """The hash that is kept of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def read_tokens(text: str) -> tuple[Token, ...]:
    """Reads the JSON list of the setting; raises `ValueError` with the problem, which never quotes the setting."""
    try:
        tokens = _tokens.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise ValueError(_problem(first["type"], first["loc"], first["msg"])) from None
    for field in ("name", "sha256"):
        if len({getattr(token, field) for token in tokens}) < len(tokens):
            raise ValueError(f"two tokens have the same {field}")
    return tokens


def _problem(kind: str, where: tuple[int | str, ...], message: str) -> str:
    if kind == "json_invalid" or not where:
        return "must be a JSON list of tokens" if kind != "too_long" else f"at most {TOKENS_MAX} tokens"
    # A name that is not known may be anything, also a token in the wrong place.
    path = [str(part) for part in where[1:] if isinstance(part, int) or part in Token.model_fields]
    if kind == "extra_forbidden":
        path.append("a field that is not known")
    known = {"sha256": "must be the 64 hexadecimal digits of a SHA-256, and not the token"}.get(path[0] if path else "")
    return f"{', '.join([f'token {int(where[0]) + 1}', *path])}: {known or message}"
