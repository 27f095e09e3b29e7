"""An account whose numbers are used up: what is told of it becomes dead letters, and nobody else waits for it."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING

import pytest

from credit_contracts import PlanChanged, ProspectGenerated
from credit_service import bounds
from credit_service.application.commands.read_progress import ReadProgress
from credit_service.application.dead_letters.desk import DeadLetterDesk
from credit_service.application.dead_letters.model import Letters
from credit_service.application.opening.opening import Opening
from credit_service.application.opening.rows import Row
from credit_service.application.record import read_record
from credit_service.domain.command import Adjust, DecideRefund, OpenPurchase, command_of
from credit_service.domain.event import Place, Wake
from credit_service.domain.rules import Rules
from credit_service.kafka.ranges.unpack import BatchInFile
from credit_service.postgres.health.doctor import PostgresFacts
from credit_service.postgres.health.probe import PostgresProbe
from credit_service.postgres.ledger.ledger import PostgresLedger
from credit_service.postgres.operator.dead_letters import PostgresDeadLetters
from credit_service.postgres.operator.operations import PostgresOperationLog
from credit_service.postgres.pool import open_pool
from support.credits import run_credits
from support.explained import Ledger, ledger_of, records_of
from support.traffic import event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

INTEGER_MAX = 2**31 - 1
JSON_MAX = 2**53 - 1
BEGAN = datetime.now(UTC) - timedelta(days=3)
COLUMNS = {"position": INTEGER_MAX, "sequence": INTEGER_MAX, "last_grant_id": INTEGER_MAX, "balance": JSON_MAX}


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Ledger]:
    """Two accounts with a plan."""
    async with ledger_of(database_url) as ledger:
        for name in ("full", "well"):
            await ledger.take(records_of([event(PlanChanged(account_id=name, plan_id="p", monthly_credits=9), BEGAN)]))
        yield ledger


_prospects = count()


async def fill(ledger: Ledger, column: str, value: int) -> None:
    await ledger.connection.execute(f"UPDATE credits.accounts SET {column} = $1 WHERE account_id = 'full'", value)


async def take(ledger: Ledger, *names: str) -> list[str | None]:
    """A prospect is generated on each account, in one batch; why each is a dead letter, if it is one."""
    at = BEGAN + timedelta(minutes=1)
    events = [
        event(ProspectGenerated(account_id=name, prospect_id=f"p-{next(_prospects)}"), at + timedelta(seconds=nth))
        for nth, name in enumerate(names)
    ]
    records = records_of(events)
    report = await ledger.processor.process(records, asyncio.Event())
    assert report.events == len(names)
    return [report.became_letters.get(record.place) for record in records]


@pytest.mark.parametrize("column", COLUMNS)
async def test_what_would_not_fit_is_a_dead_letter_that_says_so(ledger: Ledger, column: str) -> None:
    await fill(ledger, column, COLUMNS[column])
    assert await take(ledger, "well", "full", "well") == [None, "account-full", None]
    letter = await ledger.connection.fetchrow("SELECT account_id, reason, detail, value FROM credits.dead_letters")
    assert letter is not None
    assert (letter["account_id"], letter["reason"]) == ("full", "account-full")
    assert (
        letter["detail"]
        == "the numbers of this account are used up: of its decisions, balance changes, grants or credits"
    )
    assert json.loads(letter["value"])["account_id"] == "full"
    charged = "SELECT count(*) FROM credits.decisions WHERE outcome = 'charged'"
    assert await ledger.connection.fetchval(charged) == 2


@pytest.mark.parametrize(
    ("column", "full"),
    [
        ("position", bounds.ACCOUNT_NUMBERS_MAX),
        ("sequence", bounds.ACCOUNT_NUMBERS_MAX),
        ("last_grant_id", bounds.ACCOUNT_NUMBERS_MAX),
        ("balance", bounds.ACCOUNT_CREDITS_MAX),
    ],
)
async def test_up_to_there_all_is_decided(ledger: Ledger, column: str, full: int) -> None:
    await fill(ledger, column, full - 1)
    assert await take(ledger, "full") == [None]
    await fill(ledger, column, full)
    assert await take(ledger, "full", "well") == ["account-full", None]


async def test_what_no_rule_refuses_and_no_row_holds_is_one_dead_letter(ledger: Ledger) -> None:
    """Not tried for ever: this number never comes beyond that of the decisions, unless somebody sets it."""
    await fill(ledger, "declined_in_period", INTEGER_MAX)
    await ledger.connection.execute("UPDATE credits.accounts SET balance = 0 WHERE account_id = 'full'")
    await ledger.connection.execute("UPDATE credits.grants SET remaining = 0 WHERE grant_id = 1")
    await ledger.connection.execute("UPDATE credits.grants SET remaining = 9 WHERE account_no = 2")
    assert await take(ledger, "well", "full", "well") == [None, "refused-by-database", None]
    assert await ledger.connection.fetchval("SELECT detail FROM credits.dead_letters") == "SQLSTATE 22003"


async def test_what_waits_and_cannot_be_read_any_more_is_no_endless_attempt(ledger: Ledger) -> None:
    """As when the time zone of a first plan is gone from the machine's database."""
    await ledger.take(
        records_of([event(ProspectGenerated(account_id="new", prospect_id="p"), BEGAN + timedelta(minutes=1))])
    )
    await ledger.connection.execute("UPDATE credits.parked_events SET data = '{}'")
    plan = PlanChanged(account_id="new", plan_id="p", monthly_credits=1)
    well = ProspectGenerated(account_id="well", prospect_id="q")
    records = records_of([event(plan, BEGAN), event(well, BEGAN + timedelta(minutes=2))])
    report = await ledger.processor.process(records, asyncio.Event())
    assert report.became_letters == {records[0].place: "refused-by-database"}


async def test_its_timers_hold_nobody_back(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "ACCOUNTS_PER_SWEEP_MAX", 1)
    await fill(ledger, "position", INTEGER_MAX)
    # Both are due, the full one first.
    for name, days in (("full", 2), ("well", 1)):
        at = datetime.now(UTC) - timedelta(days=days)
        await ledger.connection.execute(
            "UPDATE credits.accounts SET period_ends_at = $2, next_timer_at = $2 WHERE account_id = $1", name, at
        )

    async def due() -> list[str]:
        return [name for name, _ in await ledger.ledger.accounts_with_due_timers({0: None}, 1, 1)]

    assert await due() == ["full"]
    report = await ledger.processor.wake([Wake("full", datetime.now(UTC), 10)], asyncio.Event())
    assert (report.failed_wakes, report.outcomes) == (0, {})
    assert await due() == ["well"]
    report = await ledger.processor.wake([Wake("well", datetime.now(UTC), 10)], asyncio.Event())
    assert report.outcomes == {"renewed": 1}
    assert await due() == []


async def test_an_event_behind_many_turns_of_it_is_a_dead_letter_as_well(ledger: Ledger) -> None:
    await fill(ledger, "sequence", INTEGER_MAX)
    long_ago = BEGAN - timedelta(days=10 * 365)
    await ledger.connection.execute(
        "UPDATE credits.accounts SET period_starts_at = $1, period_ends_at = $2, next_timer_at = $2"
        " WHERE account_id = 'full'",
        long_ago - timedelta(days=30),
        long_ago,
    )
    assert await take(ledger, "full", "well") == ["account-full", None]


async def test_what_waits_in_it_does_not_keep_the_sweep_busy(ledger: Ledger) -> None:
    generated = ProspectGenerated(account_id="new", prospect_id="p")
    await ledger.take(records_of([event(generated, BEGAN + timedelta(minutes=1))]))
    await ledger.connection.execute(
        "UPDATE credits.accounts AS n SET position = $1, anchor_at = w.anchor_at, time_zone = w.time_zone, "
        "period_number = w.period_number, period_starts_at = w.period_starts_at, period_ends_at = w.period_ends_at "
        "FROM credits.accounts AS w WHERE n.account_id = 'new' AND w.account_id = 'well'",
        INTEGER_MAX,
    )
    report = await ledger.processor.wake([Wake("new", BEGAN, 0)], asyncio.Event())
    assert report.lagging_accounts == set()
    assert report.failed_wakes == 0
    assert await ledger.connection.fetchval("SELECT count(*) FROM credits.parked_events") == 1


async def test_what_people_order_is_refused_in_words(ledger: Ledger, database_url: str, tmp_path: Path) -> None:
    await fill(ledger, "position", INTEGER_MAX)
    assert await ledger.order("full", Adjust(1, None, "ops", "why")) == "account-full"
    assert await ledger.order("full", DecideRefund(1, True, "ops", "why")) == "account-full"
    opening = Opening(ledger.ledger, Rules())
    rows = [Row(1, "purchase", command_of("full", OpenPurchase("bought", 1, None)))]
    refused = [row async for batch in opening.batches(rows) for row in batch.refused]
    assert [(row.reason, row.detail) for row in refused] == [("account-full", "the numbers of the account are used up")]
    asked = ("adjust", "full", "+1", "--reason", "why", "--yes")
    done = run_credits(*asked, folder=tmp_path, database_url=database_url, kafka_bootstrap_servers="127.0.0.1:1")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        1, "credits: nothing was adjusted: the numbers of full are used up"
    )  # fmt: skip


async def test_at_eighty_percent_it_is_told_of(ledger: Ledger, database_url: str) -> None:
    async with open_pool(database_url) as pool:

        async def told() -> tuple[list[tuple[str, float, int]], int]:
            filling = await PostgresFacts(pool).filling()
            return [(one.account_id, round(one.used, 3), one.accounts) for one in filling], (
                await PostgresProbe(pool).backlog()
            ).accounts_filling

        await fill(ledger, "position", bounds.ACCOUNT_NUMBERS_MAX * 79 // 100)
        await take(ledger, "full", "well")
        assert await told() == ([], 0)
        await fill(ledger, "position", bounds.ACCOUNT_NUMBERS_MAX * 81 // 100)
        await take(ledger, "full", "well")
        assert await told() == ([("full", 0.81, 1)], 1)
        await ledger.connection.execute(
            "UPDATE credits.accounts SET balance = $1 WHERE account_id = 'well'", bounds.ACCOUNT_CREDITS_MAX * 9 // 10
        )
        await take(ledger, "well", "full")
        await take(ledger, "well", "full")
        assert await told() == ([("well", 0.9, 2), ("full", 0.81, 2)], 2)


async def test_an_account_that_the_ledger_has_no_number_for_is_a_dead_letter(ledger: Ledger, database_url: str) -> None:
    await ledger.connection.execute(f"ALTER TABLE credits.accounts ALTER COLUMN account_no RESTART WITH {INTEGER_MAX}")
    assert await take(ledger, "last", "well") == [None, None]
    assert await take(ledger, "one too many", "well") == ["refused-by-database", None]
    assert await ledger.connection.fetchval("SELECT detail FROM credits.dead_letters") == "SQLSTATE 2200H"
    async with open_pool(database_url) as pool:
        assert await PostgresFacts(pool).last_account_no() == INTEGER_MAX


async def test_a_time_beyond_all_numbers_is_kept_as_near_as_can_be(ledger: Ledger) -> None:
    """A batch says the time of its first record, and of each how much later it is."""
    places = [Place("email-bounced", 0, n) for n in range(2)]
    records = [
        read_record(place, "email-bounced", b"k", None, [], time_ms)
        for place, time_ms in zip(places, (2**64, -(2**64)), strict=True)
    ]
    await ledger.processor.process(records, asyncio.Event())
    kept = await ledger.connection.fetch("SELECT timestamp_ms FROM credits.dead_letters ORDER BY dead_letter_id")
    assert [row["timestamp_ms"] for row in kept] == [2**63 - 1, -(2**63) + 1]


async def test_a_dead_letter_of_a_full_account_is_retried_in_vain_until_there_is_room(
    ledger: Ledger, database_url: str
) -> None:
    await fill(ledger, "position", INTEGER_MAX)
    await take(ledger, "full")
    async with open_pool(database_url) as pool:
        letters, reading = (
            PostgresDeadLetters(pool, unparked_max=10),
            ReadProgress(PostgresLedger(pool, unparked_max=10)),
        )
        desk = DeadLetterDesk(letters, PostgresOperationLog(pool), Rules(), BatchInFile(str), reading)

        async def retry() -> list[str | None]:
            batches = desk.retry(Letters(), operator="ops", reason="why")
            return [one.outcome or one.reason async for batch in batches for one in batch]

        first = await retry()
        await fill(ledger, "position", 1)
        assert (first, await retry()) == (["account-full"], ["charged"])
