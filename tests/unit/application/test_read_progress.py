"""A command waits for the events of its account to be read, for a bounded time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest

from credit_contracts import EmailBounced, Event, encode
from credit_service import bounds
from credit_service.application.commands import read_progress as reading
from credit_service.application.commands.execute import execute
from credit_service.application.commands.read_progress import FRESH, ReadProgress
from credit_service.application.opening.opening import Opening
from credit_service.application.opening.rows import RecordKind, Row
from credit_service.application.processing.processor import Processor
from credit_service.application.record import read_record
from credit_service.domain.command import Adjust, CommandData, OpenAccount, OpenProspect, command_of
from credit_service.domain.event import Place, Wake
from credit_service.domain.rules import Rules
from credit_service.testing.memory import MemoryLedger

if TYPE_CHECKING:
    from collections.abc import Collection

AT = datetime(2026, 1, 1, tzinfo=UTC)


class Readers:
    """Replaces the ledger: each account is behind for so many calls."""

    def __init__(self, **behind: int) -> None:
        self.behind = behind
        self.asked = 0

    async def accounts_behind(self, account_ids: Collection[str], fresh: timedelta) -> dict[str, datetime]:
        assert fresh == FRESH
        self.asked += 1
        return {name: AT for name in account_ids if self.behind.get(name, 0) >= self.asked}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LOOK_EVERY_SECONDS", 0.01)


async def test_it_goes_on_once_they_are_read() -> None:
    readers = Readers(acme=3)
    assert await ReadProgress(readers, seconds_left=10).behind({"acme", "bolt"}) == {}
    assert readers.asked == 4


async def test_all_orders_of_a_command_wait_as_long_as_one() -> None:
    readers = Readers(acme=1_000, bolt=1_000)
    one_command = ReadProgress(readers, seconds_left=0.03)
    assert await one_command.behind({"acme"}) == {"acme": AT}
    asked = readers.asked
    assert await one_command.behind({"bolt"}) == {"bolt": AT}
    assert (asked, readers.asked) == (4, 5), "the second one waits no more"


async def test_as_it_stands_nothing_is_asked() -> None:
    readers = Readers(acme=1_000)
    assert await ReadProgress(readers, as_it_stands=True).behind({"acme"}) == {}
    assert readers.asked == 0


async def test_only_orders_of_accounts_that_are_behind_are_refused_and_each_has_its_answer() -> None:
    ledger = MemoryLedger(AT)
    opening = OpenAccount("p", 5, None, None, AT, "UTC", 3)
    commands = [command_of(name, opening, "o") for name in ("acme", "bolt", "crow")]
    commands += [command_of("acme", Adjust(1, None, "ops", "r"), "a")]

    answers = await execute(ledger, Rules(), commands, ReadProgress(Readers(bolt=1_000), seconds_left=0))

    assert [(a.command.account_id, a.outcome, a.read_until) for a in answers] == [
        ("acme", "opened", None),
        ("bolt", "behind", AT),
        ("crow", "opened", None),
        ("acme", "adjusted", None),
    ]
    assert "bolt" not in ledger.accounts


async def test_an_order_as_it_stands_turns_no_month() -> None:
    ledger = MemoryLedger(AT)
    await execute(ledger, Rules(), [command_of("acme", OpenAccount("p", 5, None, None, AT, "UTC", 3), "o")])
    ledger.now = AT + timedelta(days=40)
    stands = ReadProgress(cast("Any", ledger), as_it_stands=True)

    await execute(ledger, Rules(), [command_of("acme", Adjust(1, None, "ops", "r"), "a")], stands)
    assert ledger.accounts["acme"].row.balance == 4
    await execute(ledger, Rules(), [command_of("acme", Adjust(1, None, "ops", "r"), "b")])
    assert ledger.accounts["acme"].row.balance == 7, "3 have lapsed, and 5 are the new month's"


async def test_a_late_refund_as_it_stands_lives_to_the_end_of_the_month_that_it_is_given_in() -> None:
    """Found: it was given into the month that had not turned yet, and lapsed with it."""
    ledger = MemoryLedger(AT)
    opening: list[CommandData] = [OpenAccount("p", 5, None, None, AT, "UTC", 0), OpenProspect("ann", "generated")]
    await execute(ledger, Rules(), [command_of("acme", data, "o") for data in opening])
    ledger.now = datetime(2026, 3, 20, tzinfo=UTC)
    bounced = EmailBounced(account_id="acme", prospect_id="ann", bounce_type="hard")
    processor = Processor(ledger, Rules(runs_timers=False), moves_offsets=False)
    encoded = encode(Event("/s", "i", "email-bounced", ledger.now, bounced))
    place = Place("email-bounced", 0, 0)
    await processor.process(
        [read_record(place, "email-bounced", encoded.key, encoded.value, encoded.headers, 0)], asyncio.Event()
    )
    await processor.process([], asyncio.Event())

    turned = Processor(ledger, Rules(), moves_offsets=False)
    await turned.wake([Wake("acme", ledger.now, 10)], asyncio.Event())
    assert ledger.accounts["acme"].row.balance == 6, "the month's credits, and the one that was given back"


async def test_an_account_that_was_left_open_is_let_go_though_its_events_are_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Found: the end of the opening was left out as `behind`, and the account's events waited for ever."""
    monkeypatch.setattr(bounds, "OPENING_ROWS_PER_BATCH_MAX", 1)
    ledger = MemoryLedger(AT)
    data: list[CommandData] = [OpenAccount("p", 5, None, None, AT, "UTC", 0), OpenProspect("ann", "generated")]
    kinds: list[RecordKind] = ["account", "prospect"]
    rows = [Row(n, kind, command_of("acme", one, "o")) for n, (kind, one) in enumerate(zip(kinds, data, strict=True))]
    opening = Opening(ledger, Rules(), None, ReadProgress(_From(2), seconds_left=0))
    batches = [batch async for batch in opening.batches(rows)]

    assert [row.reason for batch in batches for row in batch.refused] == ["behind"]
    assert opening.left_open is None
    assert ledger.accounts["acme"].row.opening_since is None


class _From(Readers):
    """The accounts are behind from the call of that number on."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    async def accounts_behind(self, account_ids: Collection[str], fresh: timedelta) -> dict[str, datetime]:
        await super().accounts_behind(account_ids, fresh)
        return dict.fromkeys(account_ids, AT) if self.asked >= self.number else {}
