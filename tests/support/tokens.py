"""Tokens of the tests."""

from __future__ import annotations

from credit_service.application.auth.tokens import Scope, Token, new_token, sha256_of
from credit_service.http.access import Access

SECRET = new_token()
ALL = Token(name="tests", sha256=sha256_of(SECRET), scopes=frozenset(Scope))
ACCESS = Access([ALL])
BEARER = {"Authorization": f"Bearer {SECRET}"}
