"""What the commands say before they connect to anything."""

from __future__ import annotations

import json
import logging
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import structlog
import typer

from credit_contracts import INCOMING, INCOMING_TOPICS, IncomingData
from credit_service.cli.main import app, main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NOW = "2026-03-10T12:00:00.000000Z"
BECAUSE = ("--reason", "mended", "--operator", "lee")
LATER = "2027-03-10T12:00:00.000000Z"

COMMANDS = [
    ["migrate"],
    ["topics", "create"],
    ["serve"],
    ["open"],
    ["account", "show"],
    ["trigger"],
    ["tail"],
    ["resume"],
    ["skip"],
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
) -> Iterator[Callable[..., Done]]:
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

    yield run
    # A command that connects has its libraries, and parts of the service, say nothing.
    logging.disable(logging.NOTSET)
    structlog.reset_defaults()


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


def helps(app: typer.Typer) -> Iterator[str]:
    yield from (command.help or "" for command in app.registered_commands)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            yield from helps(group.typer_instance)


def test_paragraphs_of_the_help_are_broken_by_the_terminal_alone() -> None:
    texts = list(helps(app))
    assert len(texts) > 20
    assert [text for text in texts if not text or "\n" in text.replace("\n\n", "")] == []


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
        (
            ["account", "entries", "--from", "2026-02-01T00:00:00Z", "--to", "2026-02-01T00:00:00Z"],
            ["the range is empty"],
        ),
        (["account", "entries", "--from", "soon"], ["--from: 'soon' is no time"]),
        (["account", "entries", "--reason", "greed"], ["--reason"]),
        (["account", "list", "--below", "0"], ["--below"]),
        (["account", "list", "--below", "5", "--unlimited"], ["--below and --unlimited exclude each other"]),
        (["account", "list", "--limit", "0"], ["--limit"]),
        (["adjust", "acme", "5", *BECAUSE], ["AMOUNT"]),
        (["adjust", "acme", "five", *BECAUSE], ["AMOUNT"]),
        (["adjust", "acme", "+1", "--expires-at", "soon", *BECAUSE], ["--expires-at"]),
        (["dead-letters", "retry", *BECAUSE], ["say which"]),
        (["dead-letters", "retry", "1", "--all", *BECAUSE], ["say which"]),
        (["dead-letters", "retry", "--all", "--topic", "plan-changed", *BECAUSE], ["say which"]),
        (["dead-letters", "list", "--topic", "nonsense"], ["nonsense is no incoming topic"]),
        (["dead-letters", "retry", "--topic", "balance-changed", *BECAUSE], ["balance-changed is no incoming topic"]),
        (["dead-letters", "discard", "--because", "nonsense", *BECAUSE], ["nonsense is no reason"]),
        (["dead-letters", "retry", "1"], ["--reason"]),
        (["dead-letters", "retry", "0", *BECAUSE], ["ID"]),
        (["refunds", "show", "acme", "two"], ["CHARGE"]),
        (["refunds", "approve", *BECAUSE], ["say which"]),
        (["refunds", "approve", "acme", *BECAUSE], ["say which"]),
        (["refunds", "approve", "acme", "2", "--all-waiting", *BECAUSE], ["say which"]),
        (["refunds", "reject", "acme", "--all-waiting", *BECAUSE], ["say which"]),
        (["refunds", "reject", "acme", "2"], ["--reason"]),
        (["refunds", "list", "--status", "nonsense"], ["--status"]),
        (["skip", "nonsense", "0", "--to", "1", *BECAUSE], ["nonsense", *INCOMING_TOPICS]),
        (["skip", "email-bounced", "-1", "--to", "1", *BECAUSE], ["-1"]),
        (["skip", "email-bounced", "0", "--to", "0", *BECAUSE], ["--to"]),
        (["skip", "email-bounced", "0", *BECAUSE], ["--to"]),
        (["skip", "email-bounced", "0", "--to", "1"], ["--reason"]),
        (["resume", "nonsense"], ["nonsense", *INCOMING_TOPICS]),
        (["resume", "balance-changed"], ["balance-changed", *INCOMING_TOPICS]),
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
        ["skip", "email-bounced", "0", "--to", "1", *BECAUSE],
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


PROSPECT: dict[str, object] = {"prospect_id": "p1"}
# For each event all its options, and the data that they make.
EVERY_OPTION: dict[str, tuple[str, dict[str, object]]] = {
    "prospect-generated": ("--prospect p1 --campaign c1", PROSPECT | {"campaign_id": "c1"}),
    "prospect-exported": ("--prospect p1", PROSPECT),
    "email-bounced": ("--prospect p1 --bounce-type soft", PROSPECT | {"bounce_type": "soft"}),
    "plan-changed": (
        (
            "--plan-id pro --monthly-credits 5 --seats 2 --email-accounts 3 "
            f"--effective-at {LATER} --billing-anchor-at {NOW} --time-zone Europe/Paris"
        ),
        {"plan_id": "pro", "monthly_credits": 5, "seats": 2, "email_accounts": 3}
        | {"effective_at": LATER, "billing_anchor_at": NOW, "time_zone": "Europe/Paris"},
    ),
    "credits-purchased": (
        f"--purchase-id i1 --credits 500 --expires-at {LATER}",
        {"purchase_id": "i1", "credits": 500, "expires_at": LATER},
    ),
    "prospect-imported": ("--prospect p1", PROSPECT),
    "prospect-transferred": (
        "--prospect p1 --from-campaign c1 --to-campaign c2",
        PROSPECT | {"from_campaign_id": "c1", "to_campaign_id": "c2"},
    ),
    "prospect-stage-changed": ("--prospect p1 --stage wrong-email", PROSPECT | {"stage": "wrong-email"}),
    "prospect-deleted": ("--prospect p1", PROSPECT),
}


@pytest.mark.parametrize(("event", "model"), INCOMING.items())
def test_every_field_of_every_event_can_be_given(
    event: str, model: type[IncomingData], run_credits: Callable[..., Done]
) -> None:
    options, data = EVERY_OPTION[event]
    done = run_credits("trigger", event, "acme", *options.split(), "--time", NOW, "--dry-run", "--output", "json")
    assert (done.exit_code, done.stderr) == (0, "")
    shown = json.loads(done.stdout)
    assert (shown["topic"], shown["data"]) == (f"eu-{event}", {"account_id": "acme"} | data)
    assert shown["data"].keys() == model.model_fields.keys()


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
        (["credits-purchased", "acme", "--credits", "5"], ["needs --purchase-id"]),
        (["credits-purchased", "acme", "--purchase-id", "i1"], ["needs --credits"]),
        (["credits-purchased", "acme", "--purchase-id", "i1", "--credits", "0"], ["--credits: ", "equal to 1"]),
        (["credits-purchased", "acme", "--purchase-id", "i1", "--credits", "many"], ["--credits"]),
        (
            ["credits-purchased", "acme", "--purchase-id", "i1", "--credits", "5", "--time", NOW, "--expires-at", NOW],
            ["--expires-at: not after the event's time"],
        ),
        (
            ["credits-purchased", "acme", "--purchase-id", "i1", "--credits", "5", "--expires-at", "tomorrow"],
            ["--expires-at: not an RFC 3339 time with a zone"],
        ),
        (["prospect-stage-changed", "acme", "--prospect", "p1"], ["needs --stage"]),
        (["prospect-stage-changed", "acme", "--prospect", "p1", "--stage", ""], ["--stage: "]),
        (["prospect-transferred", "acme", "--prospect", "p1", "--campaign", "c1"], ["has no --campaign"]),
        (["prospect-transferred", "acme", "--prospect", "p1", "--to-campaign", "c" * 129], ["--to-campaign: "]),
        (["prospect-deleted", "acme", "--prospect", "p1", "--stage", "wrong-email"], ["has no --stage"]),
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
