"""The tokens in force change while the service runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from credit_service.application.auth.tokens import Scope, Token, new_token, sha256_of
from credit_service.http import access as module
from credit_service.http.access import Access, kept_current
from credit_service.settings import SettingsError
from support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Sequence

OLD, NEW = (Token(name=name, sha256=sha256_of(new_token()), scopes=frozenset(Scope)) for name in ("old", "new"))


class File:
    """What is read again and again."""

    def __init__(self, *tokens: Token) -> None:
        self.tokens: Sequence[Token] = tokens
        self.wrong: Exception | None = None
        self.reads = 0

    def load(self) -> Sequence[Token]:
        self.reads += 1
        if self.wrong:
            raise self.wrong
        return self.tokens

    async def read(self) -> None:
        """Waits until it was read twice more, so that what is there now was read."""
        reads = self.reads + 2
        await eventually(lambda: self.reads >= reads, what="the tokens are read again")


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ_AGAIN_SECONDS", 0.001)


async def test_what_is_added_is_open_and_what_is_taken_out_is_closed() -> None:
    file, access = File(OLD), Access([OLD])
    with capture_logs() as logs:
        async with kept_current(access, file.load):
            for tokens in ([OLD, NEW], [NEW]):
                file.tokens = tokens
                await file.read()
                assert access.tokens == tokens
    assert [line["tokens"] for line in logs if line["event"] == "tokens changed"] == [["old", "new"], ["new"]]
    assert "sha256" not in str(logs)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (SettingsError("CREDITS_HTTP_TOKENS: wrong"), "CREDITS_HTTP_TOKENS: wrong"),
        (OSError("hunter2"), "OSError"),
    ],
)
async def test_what_is_wrong_is_said_once_and_changes_nothing(wrong: Exception, told: str) -> None:
    file, access = File(OLD), Access([OLD])
    with capture_logs() as logs:
        async with kept_current(access, file.load):
            file.wrong = wrong
            await file.read()
            await file.read()
            assert access.tokens == [OLD]
            file.wrong, file.tokens = None, [NEW]
            await file.read()
            assert access.tokens == [NEW]
    assert [line["problem"] for line in logs if line["log_level"] == "error"] == [told]


async def test_nothing_is_read_any_more_when_it_ends() -> None:
    file = File()
    async with kept_current(Access([]), file.load):
        await file.read()
    reads = file.reads
    other = File()
    async with kept_current(Access([]), other.load):
        await other.read()
    assert file.reads == reads
