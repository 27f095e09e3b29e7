"""`credits tokens`: the token is shown once, and nothing else knows it."""

from __future__ import annotations

import json
import os
import stat
import sys
from typing import TYPE_CHECKING

import pytest

from credit_service.application.auth.tokens import sha256_of
from credit_service.cli.main import main
from credit_service.settings import load_http_tokens

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NEW = ["tokens", "new", "--scope", "accounts:read", "--name"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("CREDITS_")]:
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command in this process: exit code, stdout, stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["credits", *arguments])
        code = main()
        out, said = capsys.readouterr()
        return code, out, said

    return run


def test_a_new_token_is_on_stdout_alone_and_its_entry_is_what_the_setting_takes(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = ["--expires-at", "2100-01-01T00:00:00Z"]
    code, out, said = run(*NEW, "dashboard", "--scope", "entries:read", "--account", "acme", *ends)
    secret, entry = out.strip(), said[said.index("{") :]
    assert (code, out.count("\n"), said.count("\n")) == (0, 1, 1)
    assert secret not in said
    assert json.loads(entry) == {
        "name": "dashboard",
        "sha256": sha256_of(secret),
        "scopes": ["accounts:read", "entries:read"],
        "account_id": "acme",
        "expires_at": "2100-01-01T00:00:00.000000Z",
    }
    monkeypatch.setenv("CREDITS_HTTP_TOKENS", f"[{entry}]")
    assert [token.name for token in load_http_tokens()] == ["dashboard"]


def test_as_json_both_are_on_stdout(run: Callable[..., tuple[int, str, str]]) -> None:
    code, out, said = run(*NEW, "me", "--output", "json")
    told = json.loads(out)
    assert (code, said) == (0, "")
    assert told["entry"]["sha256"] == sha256_of(told["token"])


def test_a_file_of_variables_gets_it_beside_what_it_has(run: Callable[..., tuple[int, str, str]], folder: Path) -> None:
    (folder / ".env").write_text("CREDITS_TOPIC_PREFIX=eu-\n")
    for name in ("me", "you"):
        code, out, said = run(*NEW, name, "--env-file", ".env")
        assert (code, out.count("\n")) == (0, 1)
        assert said.startswith(".env has it now")
        assert out.strip() not in (folder / ".env").read_text()
    assert [token.name for token in load_http_tokens()] == ["me", "you"]
    assert (folder / ".env").read_text().startswith("CREDITS_TOPIC_PREFIX=eu-\n")


@pytest.mark.parametrize("account", ["${HOME}", "$HOME", "a\\b", "it's", '"', "\\u0024", "#1 ${X:-y}", "\U0001f98a"])
def test_what_is_read_from_the_file_is_the_account_that_was_given(
    account: str, run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("X", "another")
    for name in ("me", "you"):
        assert run(*NEW, name, "--account", account, "--env-file", ".env")[0] == 0
    assert [token.account_id for token in load_http_tokens()] == [account, account]


def test_the_file_stays_whose_and_where_it_is(run: Callable[..., tuple[int, str, str]], folder: Path) -> None:
    kept = folder / "kept"
    kept.mkdir()
    (kept / "env").write_text("CREDITS_TOPIC_PREFIX=eu-\n")
    (kept / "env").chmod(0o640)
    (folder / ".env").symlink_to("kept/env")
    assert run(*NEW, "me", "--env-file", ".env")[0] == 0
    assert (folder / ".env").is_symlink()
    assert stat.S_IMODE((kept / "env").stat().st_mode) == 0o640
    assert [token.name for token in load_http_tokens()] == ["me"]
    assert sorted(path.name for path in kept.iterdir()) == ["env"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes files of others")
def test_the_file_stays_its_owners(run: Callable[..., tuple[int, str, str]], folder: Path) -> None:
    (folder / ".env").touch(mode=0o600)
    os.chown(folder / ".env", 4711, 4712)
    assert run(*NEW, "me", "--env-file", ".env")[0] == 0
    found = (folder / ".env").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (4711, 4712, 0o600)


def test_a_file_that_cannot_stay_its_owners_is_left_alone(
    run: Callable[..., tuple[int, str, str]], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> None:
        raise PermissionError

    real = os.stat

    def anothers(path: object, **how: bool) -> os.stat_result:
        found = real(path, **how)  # type: ignore[arg-type] # as it came
        return os.stat_result((*found[:4], 4711, *found[5:])) if str(path) == str(folder / ".env") else found

    (folder / ".env").write_text("CREDITS_TOPIC_PREFIX=eu-\n")
    monkeypatch.setattr(os, "stat", anothers)
    monkeypatch.setattr(os, "chown", denied)
    told = "credits: --env-file .env: it belongs to another user or group, and would become this user's\n"
    assert run(*NEW, "me", "--env-file", ".env") == (2, "", told)
    assert (folder / ".env").read_text() == "CREDITS_TOPIC_PREFIX=eu-\n"
    assert sorted(path.name for path in folder.iterdir()) == [".env"]


def test_tokens_among_the_secrets_are_not_closed_by_a_file(
    run: Callable[..., tuple[int, str, str]], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = json.loads(run(*NEW, "held", "--output", "json")[1])["entry"]
    (folder / "secrets").mkdir()
    (folder / "secrets" / "credits_http_tokens").write_text(json.dumps([entry]))
    monkeypatch.setenv("CREDITS_SECRETS_DIR", str(folder / "secrets"))
    code, out, said = run(*NEW, "me", "--env-file", ".env")
    assert (code, out, said.count("\n")) == (2, "", 1)
    assert f"would win over that of {folder}/secrets/credits_http_tokens, and close all its tokens" in said
    assert [token.name for token in load_http_tokens()] == ["held"]
    # Where it has won already, nobody is locked out.
    (folder / ".env").write_text(f"CREDITS_HTTP_TOKENS='{json.dumps([entry])}'\n")
    assert run(*NEW, "me", "--env-file", ".env")[0] == 0
    assert [token.name for token in load_http_tokens()] == ["held", "me"]


def test_what_is_in_the_environment_wins_and_that_is_said(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDITS_HTTP_TOKENS", "[]")
    assert "but CREDITS_HTTP_TOKENS is also in the environment, which wins" in run(*NEW, "me", "--env-file", ".env")[2]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["Hunter2"], "name: "),
        (["me", "--account", ""], "account_id: "),
        (["me", "--expires-at", "2026-01-01T00:00:00Z"], "that is over"),
        (["me", "--expires-at", "soon"], "--expires-at"),
        (["me", "--scope", "all"], "--scope"),
        (["me", "--env-file", "/nowhere/.env"], "--env-file /nowhere/.env: "),
        (["taken", "--env-file", "held"], "held, CREDITS_HTTP_TOKENS: two tokens have the same name"),
        (["me", "--env-file", "broken"], "broken, CREDITS_HTTP_TOKENS: must be a JSON list of tokens"),
    ],
)
def test_what_is_wrong_makes_no_token(
    arguments: list[str], told: str, run: Callable[..., tuple[int, str, str]], folder: Path
) -> None:
    run(*NEW, "taken", "--env-file", "held")
    (folder / "broken").write_text("CREDITS_HTTP_TOKENS=hunter2\n")
    before = (folder / "held").read_text()
    code, out, said = run(*NEW, *arguments)
    assert (code, out, said.count("\n")) == (2, "", 1), said
    assert told in said
    assert "hunter2" not in said
    assert (folder / "held").read_text() == before


def test_the_list_has_names_and_scopes_and_no_hash(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = [
        {"name": "old", "sha256": "0" * 64, "scopes": ["accounts:read"], "expires_at": "2026-01-01T00:00:00Z"},
        {"name": "acmes", "sha256": "1" * 64, "scopes": ["entries:read"], "account_id": "acme"},
    ]
    monkeypatch.setenv("CREDITS_HTTP_TOKENS", json.dumps(held))
    code, out, _ = run("tokens", "list")
    assert code == 0
    for words in ("old", "accounts:read", "all accounts", "(expired)", "acmes", "entries:read", "acme"):
        assert words in out
    assert "00000000" not in out + run("tokens", "list", "--output", "json")[1]
    assert json.loads(run("tokens", "list", "--output", "json")[1])[1] == {
        "name": "acmes",
        "scopes": ["entries:read"],
        "account_id": "acme",
        "expires_at": None,
        "expired": False,
    }


def test_a_list_of_none_says_that_the_api_is_closed(run: Callable[..., tuple[int, str, str]]) -> None:
    assert run("tokens", "list") == (0, "", "CREDITS_HTTP_TOKENS has no token: the read API refuses every request\n")


def test_a_setting_that_is_wrong_is_named(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDITS_HTTP_TOKENS", "hunter2")
    assert run("tokens", "list") == (2, "", "credits: CREDITS_HTTP_TOKENS: must be a JSON list of tokens\n")
