"""A person's order does not close a month that events of its account, which wait to be read, still lie in."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from credit_contracts import Event, PlanChanged, ProspectGenerated
from credit_contracts.incoming import WRONG_EMAIL, ProspectStageChanged
from support.credits import decide_events, run_credits_after
from support.reconciled import reconcile
from support.small_bounds import as_faults
from support.traffic import event
from support.wait import eventually

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from credit_contracts.incoming import IncomingData
    from support.service import Deployment

BECAUSE = ("--reason", "goodwill", "--operator", "lee", "--yes")
ONE_LANE_THAT_NOTES_OFTEN = (
    as_faults(LANES=1)
    + "; from credit_service.kafka.consume import turns; turns.READ_NOTED_EVERY_SECONDS = 0"
    + "; from credit_service.application.processing import timer_sweep; timer_sweep.SWEEP_EVERY_SECONDS = 0"
)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
PATIENT, IMPATIENT = (
    "",
    "from credit_service.application.commands import read_progress; read_progress.WAIT_SECONDS_MAX = 0.5",
)


@cache
def turn() -> datetime:
    """The last turn of a month, a few hours ago, on a day that every month has."""
    now = datetime.now(UTC).replace(microsecond=0) - 5 * HOUR
    return now.replace(day=min(now.day, 28))


def month_before(at: datetime) -> datetime:
    return at.replace(year=at.year - (at.month == 1), month=at.month - 1 or 12)


def the_plan(credits_a_month: int = 5) -> Event[IncomingData]:
    return event(PlanChanged(account_id="acme", plan_id="p", monthly_credits=credits_a_month), month_before(turn()))


def charge(prospect: str, at: datetime) -> Event[IncomingData]:
    return event(ProspectGenerated(account_id="acme", prospect_id=prospect), at)


async def read_up_to(database_url: str, at: datetime) -> None:
    """As a member leaves it that has read so far, and ended then."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(
            "INSERT INTO credits.partitions_read VALUES (0, 1, $1, $1) "
            "ON CONFLICT (partition) DO UPDATE SET read_until = $1, noted_at = $1",
            at,
        )
    finally:
        await connection.close()


async def rows(database_url: str, query: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(database_url)
    try:
        found: list[asyncpg.Record] = await connection.fetch(query)
        return found
    finally:
        await connection.close()


def credits_of(deployment: Deployment, *arguments: str, first: str = IMPATIENT) -> subprocess.CompletedProcess[str]:
    return run_credits_after(
        first,
        *arguments,
        folder=deployment.folder,
        database_url=deployment.database_url,
        kafka_bootstrap_servers=deployment.kafka,
        topic_prefix=deployment.prefix,
    )


async def adjust(deployment: Deployment, *more: str, first: str = IMPATIENT) -> tuple[int, dict[str, Any]]:
    done = await asyncio.to_thread(
        credits_of, deployment, "adjust", "acme", "+1", *BECAUSE, "--id", "c-1", "--output", "json", *more, first=first
    )
    return done.returncode, json.loads(done.stdout)


@pytest.fixture
async def away(deployment: Deployment) -> Deployment:
    """Nobody has read since before the turn, and charges from before it wait."""
    await deployment.make_topics(partitions=1)
    async with deployment.upstream() as upstream:
        plan = the_plan()
        await upstream.send([plan, *(charge(f"p{n}", turn() - HOUR) for n in range(3))])
    await decide_events(deployment.database_url, plan)
    await read_up_to(deployment.database_url, turn() - 2 * HOUR)
    return deployment


async def test_an_adjustment_does_not_close_the_month_that_a_backlog_lies_in(away: Deployment) -> None:
    """Found: the month's credits lapsed first, and three charges of it were booked in the next one."""
    exit_code, told = await adjust(away)

    assert (exit_code, told["outcome"], told["change"]) == (1, "behind", None)
    assert datetime.fromisoformat(told["read_until"]) == turn() - 2 * HOUR
    assert [d["type"] for d in await rows(away.database_url, "SELECT type::text FROM credits.decisions")] == [
        "plan-changed"
    ]
    service = await away.start()
    await away.oracle().drained()
    assert (await adjust(away, first=PATIENT))[1]["outcome"] == "adjusted"
    observed = await away.oracle().check()
    assert await service.terminate() == 0
    by_reason = [(c["reason"], c["amount"]) for c in observed.entries]
    assert by_reason == [
        ("plan_change", 5), *[("charge", -1)] * 3, ("lapse", -2), ("renewal", 5), ("adjustment", 1),
    ]  # fmt: skip


async def test_it_waits_for_a_member_that_reads_on(away: Deployment) -> None:
    ordered = asyncio.create_task(adjust(away, first=PATIENT))
    service = await away.start()

    exit_code, told = await ordered
    assert (exit_code, told["outcome"], told["balance"]) == (0, "adjusted", 6)
    assert await service.terminate() == 0


async def test_as_it_stands_it_turns_nothing_with_no_member_running(away: Deployment) -> None:
    exit_code, told = await adjust(away, "--as-it-stands")

    assert (exit_code, told["outcome"], told["balance"]) == (0, "adjusted", 6)
    (kept,) = await rows(away.database_url, "SELECT note FROM credits.decisions_by_account WHERE type = 'adjustment'")
    assert kept["note"] == "decided as it stood"
    assert (await reconcile(away)).findings == []
    service = await away.start()

    async def has_turned() -> bool:
        return bool(await rows(away.database_url, "SELECT FROM credits.decisions WHERE type = 'renewal'"))

    await eventually(has_turned)
    observed = await away.oracle().check()
    assert await service.terminate() == 0
    assert [(c["reason"], c["amount"]) for c in observed.entries] == [
        ("plan_change", 5), ("adjustment", 1), *[("charge", -1)] * 3, ("lapse", -2), ("renewal", 5),
    ]  # fmt: skip
    assert (await reconcile(away)).findings == []


async def test_as_a_line_it_says_how_far_and_what_to_do(away: Deployment) -> None:
    done = await asyncio.to_thread(credits_of, away, "adjust", "acme", "+1", *BECAUSE, "--id", "c-1")

    until = turn() - 2 * HOUR
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"credits: nothing was adjusted: the account's events are read up to {until:%Y-%m-%d %H:%M:%S} UTC only; wait "
        "until the service has read the rest, or order it with --as-it-stands\n"
    )


async def test_a_refund_is_decided_once_the_backlog_is_read_or_as_it_stands(away: Deployment) -> None:
    at = turn() - 3 * HOUR
    wrong = ProspectStageChanged(account_id="acme", prospect_id="early", stage=WRONG_EMAIL)
    await decide_events(away.database_url, charge("early", at), event(wrong, at + MINUTE))
    order = ("refunds", "approve", "acme", "2", *BECAUSE, "--output", "json")

    behind = await asyncio.to_thread(credits_of, away, *order)
    assert (behind.returncode, json.loads(behind.stdout)["outcome"]) == (1, "behind")
    assert datetime.fromisoformat(json.loads(behind.stdout)["read_until"]) == turn() - 2 * HOUR

    done = await asyncio.to_thread(credits_of, away, *order, "--as-it-stands")
    assert (done.returncode, json.loads(done.stdout)["outcome"]) == (0, "refunded")
    types = await rows(away.database_url, "SELECT type::text FROM credits.decisions ORDER BY position")
    assert "renewal" not in {row["type"] for row in types}
    assert (await reconcile(away)).findings == []


async def test_rows_of_accounts_whose_events_wait_are_not_opened(away: Deployment, tmp_path: Path) -> None:
    file = tmp_path / "customers.jsonl"
    opened = {"account_id": "bolt", "record": "account", "plan_id": "p", "monthly_credits": 5, "remaining_credits": 3}
    file.write_text(json.dumps(opened | {"billing_anchor_at": "2026-01-01T00:00:00Z"}))
    order = ("open", str(file), "--output", "json")

    for trial in ((), ("--dry-run",)):
        done = await asyncio.to_thread(credits_of, away, *order, *trial)
        assert done.returncode == 1, done.stderr
        refused, _ = map(json.loads, done.stdout.splitlines())
        assert (refused["account_id"], refused["reason"]) == ("bolt", "behind")
    done = await asyncio.to_thread(credits_of, away, *order, "--as-it-stands")
    assert (done.returncode, json.loads(done.stdout)["opened"]["account"]) == (0, 1)


async def test_orders_are_decided_where_nothing_was_ever_read(away: Deployment) -> None:
    await rows(away.database_url, "DELETE FROM credits.partitions_read")
    assert (await adjust(away))[1]["outcome"] == "adjusted"


async def test_how_far_is_read_goes_on_while_nothing_comes_and_stops_with_plans_that_are_paused(
    deployment: Deployment,
) -> None:
    await deployment.make_topics(partitions=2)
    service = await deployment.start(faults=ONE_LANE_THAT_NOTES_OFTEN)

    async def noted() -> list[tuple[int, int, datetime, datetime]]:
        query = "SELECT partition, partitions, read_until, noted_at FROM credits.partitions_read ORDER BY partition"
        return [tuple(row) for row in await rows(deployment.database_url, query)]

    async def has_both() -> bool:
        return [(number, of) for number, of, *_ in await noted()] == [(0, 2), (1, 2)]

    await eventually(has_both)
    first = await noted()

    async def goes_on() -> bool:
        return all(later[2] > one[2] for one, later in zip(first, await noted(), strict=True))

    await eventually(goes_on)
    # Nobody pauses a topic but the service itself, for a flood.
    await rows(
        deployment.database_url,
        f"INSERT INTO credits.paused_topics VALUES ('{deployment.topic('plan-changed')}', now(), 'a test')",
    )

    async def left_alone() -> bool:
        return "topics" in await service.degraded()

    await eventually(left_alone)
    before = await noted()
    async with deployment.upstream() as upstream:
        for number in range(5):
            await upstream.send([charge(f"p{number}", datetime.now(UTC))])

            async def is_parked(number: int = number) -> bool:
                return len(await rows(deployment.database_url, "SELECT FROM credits.parked_events")) > number

            await eventually(is_parked)
    assert await noted() == before
    assert await service.terminate() == 0
