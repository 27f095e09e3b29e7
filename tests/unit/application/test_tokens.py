"""Tokens and their scopes, without HTTP."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from credit_service.application.auth.tokens import (
    TOKENS_MAX,
    Access,
    Scope,
    Token,
    authorise,
    new_token,
    read_tokens,
    sha256_of,
)
from credit_service.http.access import bearer

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
SECRET = "credits_" + "s" * 43
OTHER = "credits_" + "o" * 43


def token(**given: Any) -> Token:
    return Token(**{"name": "tests", "sha256": sha256_of(SECRET), "scopes": [Scope.ACCOUNTS]} | given)


@pytest.mark.parametrize(
    ("held", "shown", "expected"),
    [
        (token(), SECRET, "granted"),
        (token(), None, "not-known"),
        (token(), OTHER, "not-known"),
        (token(), SECRET.removeprefix("credits_"), "not-known"),
        (token(), sha256_of(SECRET), "not-known"),
        (token(expires_at=NOW), SECRET, "not-known"),
        (token(expires_at=NOW + timedelta(microseconds=1)), SECRET, "granted"),
        (token(scopes=[Scope.ENTRIES, Scope.DECISIONS]), SECRET, "not-allowed"),
        (token(account_id="acme"), SECRET, "granted"),
        (token(account_id="acme2"), SECRET, "not-allowed"),
        (token(account_id="ACME"), SECRET, "not-allowed"),
    ],
)
def test_what_a_token_opens(held: Token, shown: str | None, expected: Access) -> None:
    assert authorise([held], shown, Scope.ACCOUNTS, "acme", NOW) == expected


def test_without_tokens_nothing_is_open() -> None:
    assert authorise([], SECRET, Scope.ACCOUNTS, "acme", NOW) == "not-known"


def test_a_token_of_one_account_does_not_open_what_is_no_account() -> None:
    assert authorise([token(account_id="acme")], SECRET, Scope.ACCOUNTS, None, NOW) == "not-allowed"


@pytest.mark.parametrize("header", [f"Bearer {SECRET}", f"bearer {SECRET}", f"BEARER   {SECRET}"])
def test_the_scheme_is_read_in_any_case(header: str) -> None:
    assert bearer([header]) == SECRET


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [f"Bearer {SECRET}", f"Bearer {SECRET}"],
        [f"Basic {SECRET}"],
        [SECRET],
        ["Bearer"],
        ["Bearer "],
        [f"Bearer {SECRET} {OTHER}"],
        [f"Bearer {SECRET}\n"],
        [f"Bearer \u00e4{SECRET}"],
    ],
)
def test_anything_else_shows_no_token(headers: list[str]) -> None:
    assert bearer(headers) is None


def test_a_new_token_is_256_bits_that_nobody_has_seen() -> None:
    made = {new_token() for _ in range(100)}
    assert len(made) == 100
    assert {bearer([f"Bearer {one}"]) for one in made} == made
    assert all(authorise([token(sha256=sha256_of(one))], one, Scope.ACCOUNTS, "acme", NOW) == "granted" for one in made)


# --- the setting


ENTRY = {"name": "tests", "sha256": "0" * 64, "scopes": ["accounts:read"]}


def test_an_entry_says_what_the_token_is() -> None:
    given = ENTRY | {"account_id": "acme", "expires_at": "2027-01-01T00:00:00.000000Z"}
    (read,) = read_tokens(json.dumps([given]))
    assert (read.name, read.scopes, read.account_id) == ("tests", frozenset({Scope.ACCOUNTS}), "acme")
    assert read.expires_at == datetime(2027, 1, 1, tzinfo=UTC)
    assert read.entry() == given
    assert read_tokens("[]") == ()


def test_what_is_kept_does_not_show_its_hash() -> None:
    assert "000" not in repr(read_tokens(json.dumps([ENTRY])))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("hunter2", "must be a JSON list of tokens"),
        ('{"hunter2": 1}', "must be a JSON list of tokens"),
        ('["hunter2"]', "token 1: "),
        ([ENTRY | {"sha256": "hunter2"}], "token 1, sha256: must be the 64 hexadecimal digits of a SHA-256, and not"),
        ([ENTRY, ENTRY | {"name": "Hunter2"}], "token 2, name: "),
        ([ENTRY | {"scopes": []}], "token 1, scopes: "),
        ([ENTRY | {"scopes": ["hunter2"]}], "token 1, scopes, 0: "),
        ([ENTRY | {"scopes": "accounts:read"}], "token 1, scopes: "),
        ([ENTRY | {"account_id": ""}], "token 1, account_id: "),
        ([ENTRY | {"expires_at": "hunter2"}], "token 1, expires_at: not an RFC 3339 time with a zone"),
        ([ENTRY | {"expires_at": 1}], "token 1, expires_at: "),
        ([ENTRY | {"hunter2": 1}], "token 1, a field that is not known: "),
        ([{"name": "tests"}], "token 1, sha256: "),
        ([ENTRY, ENTRY | {"sha256": "1" * 64}], "two tokens have the same name"),
        ([ENTRY, ENTRY | {"name": "hunter2"}], "two tokens have the same sha256"),
        ([ENTRY] * (TOKENS_MAX + 1), f"at most {TOKENS_MAX} tokens"),
    ],
)
def test_what_is_wrong_is_told_and_never_quoted(given: Any, told: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(told)}") as caught:
        read_tokens(given if isinstance(given, str) else json.dumps(given))
    assert "unter2" not in str(caught.value)
