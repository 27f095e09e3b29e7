"""The refund desk on the real ledger: each request is decided once, by somebody, for a reason."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TypeAlias

import asyncpg
import pytest

from credit_contracts import (
    EmailBounced,
    Event,
    IncomingData,
    PlanChanged,
    ProspectDeleted,
    ProspectGenerated,
    ProspectStageChanged,
)
from credit_contracts.naming import topic_name
from credit_service.application.refunds.desk import RefundDesk
from credit_service.domain.rules import LateRefund, Rules
from credit_service.postgres.ledger.ledger import PostgresLedger
from credit_service.postgres.pool import open_pool
from support.credits import decide_events

ACCOUNT, CHARGE = "acme", 2
BEGAN = datetime.now(UTC) - timedelta(hours=1)
_ids = count()

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


def event(data: IncomingData, at: datetime | None = None) -> Event[IncomingData]:
    number = next(_ids)
    return Event("/tests", f"e{number}", topic_name(type(data)), at or BEGAN + timedelta(seconds=number), data)


def plan(monthly_credits: int | None = 10, at: datetime | None = None) -> Event[IncomingData]:
    return event(PlanChanged(account_id=ACCOUNT, plan_id="p", monthly_credits=monthly_credits), at)


def generated(at: datetime | None = None) -> Event[IncomingData]:
    return event(ProspectGenerated(account_id=ACCOUNT, prospect_id="ann"), at)


def wrong_email() -> Event[IncomingData]:
    return event(ProspectStageChanged(account_id=ACCOUNT, prospect_id="ann", stage="wrong-email"))


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def desk(database_url: str) -> AsyncIterator[RefundDesk]:
    async with open_pool(database_url) as pool:
        rules = Rules()
        yield RefundDesk(PostgresLedger(pool, unparked_max=rules.unparked_max), rules)


async def decide(
    desk: RefundDesk, *, approve: bool = True, command_id: str = "ticket-1", reason: str = "wrong person"
) -> str:
    answer = await desk.decide(ACCOUNT, CHARGE, approve=approve, operator="lee", reason=reason, command_id=command_id)
    return answer.outcome


async def everything(connection: Connection) -> list[list[asyncpg.Record]]:
    tables = ["accounts", "decisions", "entries", "grants", "prospects", "refund_requests", "outbox"]
    return [await connection.fetch(f"SELECT * FROM credits.{table} ORDER BY 1, 2, 3") for table in tables]


async def request(connection: Connection) -> asyncpg.Record:
    (row,) = await connection.fetch("SELECT *, credits.unpacked(prospect_id) AS prospect FROM credits.refund_requests")
    return row


async def test_an_approved_request_gives_the_credit_back_and_says_who_and_why(
    database_url: str, desk: RefundDesk, connection: Connection
) -> None:
    await decide_events(database_url, plan(), generated(), wrong_email())
    waiting = await request(connection)
    assert (waiting["status"], waiting["charge_sequence"], waiting["prospect"]) == ("waiting", CHARGE, "ann")

    assert await decide(desk) == "refunded"

    row = await request(connection)
    assert (row["status"], row["operator"], row["reason"]) == ("approved", "lee", "wrong person")
    published = await connection.fetchval("SELECT payload FROM credits.outbox ORDER BY outbox_id DESC LIMIT 1")
    change = json.loads(published)
    assert (change["reason"], change["delta"], change["balance"], change["prospect_id"]) == ("refund", 1, 10, "ann")
    assert change["cause"] == {"source": "/credit-service", "id": "refund:ticket-1", "type": "refund-approved"}


async def test_the_same_command_again_has_the_same_answer_and_no_second_effect(
    database_url: str, desk: RefundDesk, connection: Connection
) -> None:
    await decide_events(database_url, plan(), generated(), wrong_email())
    await decide(desk)
    before = await everything(connection)

    assert await decide(desk) == "refunded"
    assert await decide(desk, reason="another") == "conflict"
    assert await decide(desk, approve=False) == "conflict"
    assert await everything(connection) == before


async def test_a_rejected_request_is_closed_for_good(
    database_url: str, desk: RefundDesk, connection: Connection
) -> None:
    await decide_events(database_url, plan(), generated(), wrong_email())
    assert await decide(desk, approve=False) == "rejected"
    before = await everything(connection)

    assert await decide(desk, command_id="ticket-2") == "already-decided"
    assert await everything(connection) == before
    assert (await request(connection))["status"] == "rejected"


async def test_what_nobody_asked_for_cannot_be_decided(
    database_url: str, desk: RefundDesk, connection: Connection
) -> None:
    await decide_events(database_url, plan(), generated())
    before = await everything(connection)

    assert await decide(desk) == "unknown-request"
    assert await everything(connection) == before


async def test_what_a_bounce_gave_back_is_not_given_back_again(
    database_url: str, desk: RefundDesk, connection: Connection
) -> None:
    bounced = event(EmailBounced(account_id=ACCOUNT, prospect_id="ann"), datetime.now(UTC))
    await decide_events(database_url, plan(), generated(), wrong_email(), bounced)
    before = await everything(connection)

    assert await decide(desk) == "already-refunded"
    assert await everything(connection) == before
    assert (await request(connection))["status"] == "overtaken"


async def test_a_request_outlives_the_delete_of_its_prospect(
    database_url: str, desk: RefundDesk, connection: Connection
) -> None:
    deleted = event(ProspectDeleted(account_id=ACCOUNT, prospect_id="ann"), datetime.now(UTC))
    await decide_events(database_url, plan(), generated(), wrong_email(), deleted)

    assert await decide(desk) == "refunded"
    assert await connection.fetchval("SELECT balance FROM credits.accounts") == 10


async def test_two_people_at_once_decide_a_request_once(
    database_url: str, desk: RefundDesk, connection: Connection
) -> None:
    await decide_events(database_url, plan(), generated(), wrong_email())

    answers = await asyncio.gather(*(decide(desk, command_id=f"ticket-{n}", approve=bool(n % 2)) for n in range(8)))

    assert sorted(answers)[:7] == ["already-decided"] * 7
    refunds = await connection.fetchval("SELECT count(*) FROM credits.entries WHERE reason = 'refund'")
    assert refunds == answers.count("refunded")


@pytest.mark.parametrize(
    ("late_refund", "outcome", "balance"),
    [(LateRefund(), "refunded", 11), (LateRefund("forfeit"), "forfeited", 10)],
)
async def test_an_approval_after_the_month_follows_the_rule_for_late_refunds(
    database_url: str, connection: Connection, late_refund: LateRefund, outcome: str, balance: int
) -> None:
    long_ago = BEGAN - timedelta(days=40)
    await decide_events(database_url, plan(at=long_ago), generated(long_ago + timedelta(hours=1)), wrong_email())
    async with open_pool(database_url) as pool:
        desk = RefundDesk(PostgresLedger(pool, unparked_max=100), Rules(late_refund))
        assert await desk.decide(ACCOUNT, CHARGE, approve=True, operator="lee", reason="late", command_id="c")
        again = await desk.decide(ACCOUNT, CHARGE, approve=True, operator="lee", reason="late", command_id="c")

    assert (again.outcome, again.is_new) == (outcome, False)
    assert (await request(connection))["status"] == "approved"
    assert await connection.fetchval("SELECT balance FROM credits.accounts") == balance


async def test_a_decision_needs_a_reason_that_can_be_read(desk: RefundDesk) -> None:
    for text in ("", "  ", "x" * 1_001, "two\nlines"):
        with pytest.raises(ValueError, match="reason"):
            await decide(desk, reason=text)
