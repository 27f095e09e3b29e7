"""No combination of tokens opens more than one of them says, and what is added opens nothing for the others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from credit_service.application.auth.tokens import Scope, Token, authorise, sha256_of

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
SECRETS = ["credits_" + letter * 43 for letter in "abcd"]
ACCOUNTS = ["acme", "acme/eu", "ACME"]
MAYBE_ACCOUNT = st.one_of(st.none(), st.sampled_from(ACCOUNTS))
SHOWN = st.one_of(st.none(), st.sampled_from([*SECRETS, "credits_" + "x" * 43, "hunter2", sha256_of(SECRETS[0])]))


@st.composite
def held(draw: st.DrawFn) -> dict[str, Token]:
    """Tokens by their secrets."""
    return {
        secret: Token(
            name=secret[8:12],
            sha256=sha256_of(secret),
            scopes=draw(st.frozensets(st.sampled_from(Scope), min_size=1)),
            account_id=draw(MAYBE_ACCOUNT),
            expires_at=draw(st.sampled_from([None, NOW - timedelta(1), NOW, NOW + timedelta(1)])),
        )
        for secret in draw(st.lists(st.sampled_from(SECRETS), unique=True))
    }


@given(held(), SHOWN, st.sampled_from(Scope), MAYBE_ACCOUNT)
def test_what_is_open_is_what_the_token_that_is_shown_says(
    tokens: dict[str, Token], shown: str | None, scope: Scope, account_id: str | None
) -> None:
    came_of_it = authorise(list(tokens.values()), shown, scope, account_id, NOW)

    token = tokens.get(shown or "")
    is_in_force = token is not None and (token.expires_at is None or token.expires_at > NOW)
    assert (came_of_it == "not-known") == (not is_in_force)
    if token is not None and is_in_force:
        opens = scope in token.scopes and (token.account_id is None or token.account_id == account_id)
        assert (came_of_it == "granted") == opens


@given(held(), SHOWN, st.sampled_from(Scope), MAYBE_ACCOUNT)
def test_nobody_is_helped_by_the_tokens_of_others(
    tokens: dict[str, Token], shown: str | None, scope: Scope, account_id: str | None
) -> None:
    own = [token for secret, token in tokens.items() if secret == shown]

    assert authorise(list(tokens.values()), shown, scope, account_id, NOW) == authorise(
        own, shown, scope, account_id, NOW
    )
