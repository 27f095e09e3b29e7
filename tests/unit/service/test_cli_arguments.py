"""What the commands say before they connect to anything."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from credit_contracts.topics import INCOMING_TOPICS
from credit_service.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COMMANDS = [
    ["migrate"],
    ["topics", "create"],
    ["serve"],
    ["account", "show"],
    ["trigger"],
    ["tail"],
    ["resume"],
]


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    exit_code: int
    stdout: str
    stderr: str


@pytest.fixture
def run_credits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """Runs a command in this process, with settings of servers that are not there."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("CREDITS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CREDITS_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    monkeypatch.setenv("CREDITS_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("CREDITS_TOPIC_PREFIX", "eu-")

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["credits", *arguments])
        exit_code = main()
        return Done(exit_code, *capsys.readouterr())

    return run


def assert_one_line(done: Done, exit_code: int, *words: str) -> None:
    """It ended with `exit_code` and one line of talk that has all the words, and no data."""
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (exit_code, "", 1), done.stderr
    assert done.stderr.startswith("credits: ")
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_an_example(command: list[str], run_credits: Callable[..., Done]) -> None:
    done = run_credits(*command, "--help")
    assert (done.exit_code, done.stderr) == (0, "")
    assert f"credits {' '.join(command)}" in done.stdout.partition("Example: ")[2]


def test_without_arguments_there_is_the_help_and_nothing_else(run_credits: Callable[..., Done]) -> None:
    done = run_credits()
    assert (done.exit_code, done.stderr) == (2, "")
    assert "account" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], ["nonsense"]),
        (["account", "show"], ["ACCOUNT"]),
        (["tail", "--max", "0"], ["--max"]),
        (["topics", "create", "--replication-factor", "none"], ["--replication-factor"]),
        (["migrate", "--nonsense"], ["--nonsense"]),
        (["account", "show", "acme", "--output", "xml"], ["--output"]),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_code_2(
    arguments: list[str], words: list[str], run_credits: Callable[..., Done]
) -> None:
    assert_one_line(run_credits(*arguments), 2, *words)


@pytest.mark.parametrize(
    "command",
    [
        ["migrate"],
        ["topics", "create"],
        ["serve"],
        ["account", "show", "acme"],
        ["trigger", "email-bounced", "acme"],
        ["tail"],
        ["resume", "email-bounced"],
    ],
    ids=" ".join,
)
def test_a_missing_setting_is_one_line_that_names_it(
    command: list[str], run_credits: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDITS_DATABASE_URL")
    done = run_credits(*command)
    assert_one_line(done, 2, "CREDITS_DATABASE_URL is not set")


def test_a_dry_run_shows_the_event_and_asks_nobody(run_credits: Callable[..., Done]) -> None:
    done = run_credits("trigger", "prospect-generated", "acme", "--prospect", "p1", "--id", "e1", "--dry-run")
    assert (done.exit_code, done.stderr) == (0, "")
    shown = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert (shown["id"], shown["topic"]) == ("e1", "eu-prospect-generated")
    assert json.loads(shown["data"]) == {"account_id": "acme", "prospect_id": "p1"}
    assert "offset" not in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense", "acme"], ["nonsense", *INCOMING_TOPICS]),
        (["balance-changed", "acme"], ["balance-changed"]),
        (["prospect-generated", "acme"], ["needs --prospect"]),
        (["plan-changed", "acme", "--plan-id", "pro"], ["needs --monthly-credits"]),
        (["plan-changed", "acme", "--plan-id", "pro", "--monthly-credits", "-1"], ["--monthly-credits"]),
        (["plan-changed", "acme", "--plan-id", "pro", "--monthly-credits", "9999999999"], ["--monthly-credits"]),
        (["plan-changed", "acme", "--plan-id", "p", "--monthly-credits", "1", "--prospect", "p"], ["no --prospect"]),
        (["prospect-generated", "a" * 129, "--prospect", "p1"], ["ACCOUNT"]),
        (["prospect-generated", "acme", "--prospect", "p1", "--time", "yesterday"], ["--time"]),
        (["prospect-generated", "acme", "--prospect", "p1", "--id", "e" * 129], ["id", "longer"]),
        (["prospect-generated", "acme", "--prospect", "p1", "--source", ""], ["source", "empty"]),
    ],
    ids=lambda given: " ".join(given)[:40] if isinstance(given, list) else None,
)
def test_what_the_service_could_not_read_is_not_sent(
    arguments: list[str], words: list[str], run_credits: Callable[..., Done]
) -> None:
    assert_one_line(run_credits("trigger", *arguments), 2, *words)
