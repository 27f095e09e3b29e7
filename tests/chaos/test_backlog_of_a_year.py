"""Fourteen months of thousands of accounts, met in one go, come to what the model makes of them."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from support.clock import Clock
from support.small_bounds import OF_COLUMNS, SMALL, as_faults, small_bounds
from support.wait import eventually
from support.year import END, Told, modelled, year

if TYPE_CHECKING:
    from collections.abc import Collection

    from support.service import Deployment, ServiceProcess

pytestmark = [pytest.mark.backlog, pytest.mark.timeout(3_600)]

PARTITIONS = 6
EVENTS = int(os.environ.get("BACKLOG_EVENTS", "200000"))
SEED = int(os.environ.get("BACKLOG_SEED", "1"))
EVENTS_OF_AN_ACCOUNT = 40
SENT_AT_ONCE = 5_000
KILLS = 8
SECONDS_MAX = 1_800
SETTINGS = {"parked_hours_max": "8784"}


async def send(deployment: Deployment, told: list[Told]) -> None:
    async with deployment.upstream() as upstream:
        for begin in range(0, len(told), SENT_AT_ONCE):
            await upstream.send([one.event for one in told[begin : begin + SENT_AT_ONCE]])


async def at_work(deployment: Deployment, clock: Clock, told: list[Told], kills: int, faults: str) -> ServiceProcess:
    """A service that has taken all in, and was killed so often on the way."""
    for kill in range(kills + 1):
        service = await deployment.start(faults=faults, **SETTINGS)
        until = len(told) * (kill + 1) // (kills + 1)

        async def has_come(service: ServiceProcess = service, until: int = until) -> bool:
            return not service.runs or await clock.taken_in() >= until

        await eventually(has_come, within_seconds=SECONDS_MAX)
        assert service.runs, service.said()
        if kill < kills:
            await service.kill()
            await deployment.killed(service)
    return service


async def nothing_is_due(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    async def is_idle() -> bool:
        waits: bool = await connection.fetchval(
            "SELECT EXISTS (SELECT FROM credits.accounts "
            "WHERE next_timer_at <= $1 OR (parked > 0 AND plan_position > 0))",
            END,
        )
        return not waits

    await eventually(is_idle, within_seconds=SECONDS_MAX)


async def found(connection: asyncpg.Connection[asyncpg.Record]) -> dict[str, dict[str, Any]]:
    """By account: its balance, its changes, which events were declined, and how many were refused."""
    accounts: dict[str, dict[str, Any]] = {
        name: {"balance": balance, "changes": [], "declined": set(), "refused": 0}
        for name, balance in await connection.fetch("SELECT account_id, balance FROM credits.accounts")
    }
    for name, *change in await connection.fetch(
        "SELECT account_id, min(reason::text), sum(amount)::bigint, min(balance) FROM credits.entries_by_account "
        "GROUP BY account_id, sequence ORDER BY account_id, sequence"
    ):
        accounts[name]["changes"].append(tuple(change))
    for name, event_id in await connection.fetch(
        "SELECT account_id, id FROM credits.decisions_by_account WHERE outcome = 'declined'"
    ):
        accounts[name]["declined"].add(event_id)
    for name, letters in await connection.fetch("SELECT account_id, count(*) FROM credits.dead_letters GROUP BY 1"):
        accounts[name]["refused"] = letters
    return accounts


def disagreements(told: Collection[Told], ledger: dict[str, dict[str, Any]]) -> dict[str, tuple[Any, Any]]:
    """Of accounts that the ledger and the model have otherwise: what each has first that the other has not."""
    differ: dict[str, tuple[Any, Any]] = {}
    models = modelled(told, PARTITIONS)
    for name, model in models.items():
        has = ledger.get(name)
        if has is None:
            differ[name] = (None, model.changes)
            continue
        pairs = [
            (has["balance"], model.held),
            (has["changes"], model.changes),
            (has["declined"], model.was_declined),
            (has["refused"], model.refused),
        ]
        if odd := [pair for pair in pairs if pair[0] != pair[1]]:
            differ[name] = odd[0]
    assert ledger.keys() <= models.keys()
    return differ


async def comes_to_the_model(deployment: Deployment, events: int, *, kills: int = 0, faults: str = "") -> None:
    told = year(SEED, accounts=events // EVENTS_OF_AN_ACCOUNT, events=events)
    await deployment.make_topics(partitions=PARTITIONS)
    await send(deployment, told)
    connection = await asyncpg.connect(deployment.database_url)
    try:
        async with Clock.replacing(deployment.database_url, END) as clock:
            service = await at_work(deployment, clock, told, kills, faults)
            await nothing_is_due(connection)
            ledger = await found(connection)
            assert await service.terminate() == 0
    finally:
        await connection.close()
    differ = await asyncio.to_thread(disagreements, told, ledger)
    assert not differ, f"{len(differ)} accounts, first {next(iter(differ.items()))}"


async def test_in_one_go(deployment: Deployment) -> None:
    await comes_to_the_model(deployment, EVENTS)


async def test_with_kills(deployment: Deployment) -> None:
    await comes_to_the_model(deployment, EVENTS, kills=KILLS)


async def test_with_every_bound_tiny(deployment: Deployment) -> None:
    tiny = {name: value for name, value in SMALL.items() if name not in OF_COLUMNS}
    with small_bounds(**tiny):
        await comes_to_the_model(deployment, EVENTS // 10, faults=as_faults(**tiny))
