"""Commands are decided and stored in one transaction; a dry run keeps nothing of it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from credit_service.application.commands.execute import execute
from credit_service.application.errors import Undecidable
from credit_service.application.processing import fold
from credit_service.domain.command import OpenAccount, OpenProspect, command_of
from credit_service.domain.rules import Rules
from credit_service.testing.memory import MemoryLedger

AT = datetime(2026, 1, 1, tzinfo=UTC)
COMMANDS = [
    command_of("acme", OpenAccount("p", 5, None, None, AT, "UTC", 1)),
    command_of("acme", OpenProspect("ann", "generated")),
    command_of("bolt", OpenProspect("bob", "generated")),
]


async def test_a_dry_run_has_the_answers_of_a_real_run_and_keeps_nothing() -> None:
    ledger = MemoryLedger(AT)
    tried = await execute(ledger, Rules(), COMMANDS, dry_run=True)
    assert (ledger.accounts, ledger.outbox) == ({}, [])

    done = await execute(ledger, Rules(), COMMANDS)
    assert [answer.outcome for answer in tried] == [answer.outcome for answer in done]
    assert [answer.outcome for answer in done] == ["opened", "opened", "not-open"]
    assert ledger.accounts["acme"].row.position == 2
    assert ledger.outbox


async def test_rules_that_fail_on_a_command_keep_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(fold, "decide", failing)
    ledger = MemoryLedger(AT)
    with pytest.raises(Undecidable, match=r"^ZeroDivisionError$"):
        await execute(ledger, Rules(), COMMANDS)
    assert (ledger.accounts, ledger.outbox) == ({}, [])
