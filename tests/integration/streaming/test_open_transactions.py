"""A transaction that stays open is reported; messages behind it count as waiting, and no other partition waits."""

from __future__ import annotations

import asyncio
import json
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from credit_contracts.envelope import encode
from credit_contracts.incoming import PlanChanged, ProspectExported, ProspectGenerated
from credit_contracts.topics import partition_for
from support.clock import Clock
from support.credits import run_credits_after
from support.foreign import librdkafka
from support.replays import settings_of
from support.scraped import scraped
from support.traffic import event
from support.wait import eventually

if TYPE_CHECKING:
    from credit_contracts.envelope import Event
    from credit_contracts.incoming import IncomingData
    from support.service import Deployment, ServiceProcess

PARTITIONS = 3
BEHIND = 20
TOPIC = "prospect-exported"
AT = datetime.now(UTC) - timedelta(hours=1)
SAID_SOON = "from credit_service.kafka.consume import open_transactions; open_transactions.HANGING_SECONDS = 1.0"
SWEPT_OFTEN = "from credit_service.application.processing import timer_sweep; timer_sweep.EXPIRE_EVERY_SECONDS = 0.1"
LOOKED_AT_TWICE_SOON = "from credit_service.application.doctor import doctor; doctor.TRANSACTION_SECONDS = 1.0"
LOOKS_OFTEN = "from credit_service.watch import watch; watch.LOOK_SECONDS_MAX = 0.3"
ENDED_BY_THE_BROKER_MS = 15_000
"""Longer than it takes to see it open; a broker looks for such transactions every ten seconds."""


def plan(account: str, monthly_credits: int = 1_000) -> Event[IncomingData]:
    return event(PlanChanged(account_id=account, plan_id="p", monthly_credits=monthly_credits), AT)


def exported(account: str, count: int, name: str) -> list[Event[IncomingData]]:
    return [event(ProspectExported(account_id=account, prospect_id=f"{name}-{n}"), AT) for n in range(count)]


def account_of(number: int) -> str:
    names = (f"of-{n}" for n in range(1_000))
    return next(name for name in names if partition_for(name.encode(), PARTITIONS) == number)


def in_a_transaction(deployment: Deployment, one: Event[IncomingData]) -> librdkafka.Sent:
    """As `open_transaction` takes it."""
    record, topic = encode(one), deployment.topic(one.type)
    return topic, partition_for(record.key, PARTITIONS), record.key, record.value, record.headers


async def says_pinned(service: ServiceProcess, *words: str) -> bool:
    said = (await service.degraded()).get("pinned", "")
    return all(word in said for word in words)


async def doctor(deployment: Deployment) -> dict[str, Any]:
    """The doctor's line about transactions."""
    settings = settings_of(deployment)
    command = ("doctor", "--output", "json")
    done = await asyncio.to_thread(
        run_credits_after, LOOKED_AT_TWICE_SOON, *command, folder=deployment.folder, **settings
    )
    (check,) = (check for check in json.loads(done.stdout)["checks"] if check["name"] == "transactions")
    found: dict[str, Any] = check
    return found


async def lag_of(service: ServiceProcess, topic: str) -> float | None:
    return (await scraped(service)).value("lag_messages", topic=topic)


@pytest.mark.slow
async def test_it_is_named_and_what_lies_behind_it_counts_as_waiting(deployment: Deployment) -> None:
    await deployment.make_topics()
    account, topic = account_of(0), deployment.topic(TOPIC)
    service = await (await deployment.start(faults=f"{SAID_SOON}; {LOOKS_OFTEN}", stuck_seconds_max="10")).ready()
    oracle = deployment.oracle()
    async with deployment.upstream() as upstream:
        await upstream.send([plan(account), *exported(account, 3, "before")])
        await oracle.drained()
        left = in_a_transaction(deployment, *exported(account, 1, "left"))
        name = f"{deployment.prefix}left"
        await asyncio.to_thread(librdkafka.leave_open, deployment.kafka, name, [left], ENDED_BY_THE_BROKER_MS)
        behind = await upstream.send(exported(account, BEHIND, "behind"))
        place = f"{topic}/0 from offset 3 on"
        await eventually(lambda: says_pinned(service, place, f"{BEHIND + 1} messages"), what="it is named")

        async def counts_it() -> bool:
            return await lag_of(service, TOPIC) == BEHIND + 1

        await eventually(counts_it, what="what lies behind it is part of the lag")
        assert (await scraped(service)).value("degraded", part="pinned") == 1
        # Others of the same number, of another topic, do not wait for it.
        await upstream.send([event(ProspectGenerated(account_id=account, prospect_id="other"), AT)])
        await oracle.drained(but=[TOPIC])
    examined = await doctor(deployment)
    assert (examined["state"], examined["told"]) == (
        "wrong",
        f"open for 1 s or longer: {place}, {BEHIND + 1} messages",
    )
    assert "kafka-transactions.sh abort" in examined["what_to_do"]
    assert not await service.problems()

    # The producer has gone away, and the broker ends the transaction.
    async def is_well() -> bool:
        return not await service.degraded() and await lag_of(service, TOPIC) == 0

    await eventually(is_well, what="all is well once it has ended")
    assert (await doctor(deployment))["state"] == "ok"
    observed = await oracle.check()
    assert {one.event.id for one in behind} <= {decision["id"] for decision in observed.decisions}
    (said,) = service.logged("a transaction stays open, messages behind it cannot be read")
    assert (said["topic"], said["partition"], said["offset"]) == (topic, 0, 3)
    assert await service.terminate() == 0


async def test_while_it_holds_back_plans_months_of_their_number_do_not_turn(deployment: Deployment) -> None:
    """The plan in the transaction is of an earlier instant than the turn, and counts for the month."""
    await deployment.make_topics()
    held_back, free = account_of(0), account_of(2)
    async with Clock.replacing(deployment.database_url, AT + timedelta(hours=1)) as clock:
        service = await (await deployment.start(faults=f"{SAID_SOON}; {SWEPT_OFTEN}")).ready()
        connection = await asyncpg.connect(deployment.database_url)

        async def turned() -> list[tuple[int, int]]:
            rows = await connection.fetch(
                "SELECT partition_hash % 3 AS n, granted_in_period AS granted FROM credits.accounts"
                " WHERE period_number > 0 ORDER BY 1"
            )
            return [(row["n"], row["granted"]) for row in rows]

        async def have_turned(expected: list[tuple[int, int]]) -> bool:
            return await turned() == expected

        try:
            async with deployment.upstream() as upstream:
                await upstream.send([plan(held_back), plan(free)])
                await deployment.oracle().drained()
            newer = event(PlanChanged(account_id=held_back, plan_id="q", monthly_credits=70), AT + timedelta(minutes=1))
            with ExitStack() as open_:
                sent = [in_a_transaction(deployment, newer)]
                begun = librdkafka.open_transaction(deployment.kafka, f"{deployment.prefix}open", sent, commits=True)
                await asyncio.to_thread(open_.enter_context, begun)
                await eventually(lambda: says_pinned(service, "plan-changed/0 from offset 1 on"), what="it is named")
                await clock.set(AT + timedelta(days=40))
                await eventually(lambda: have_turned([(2, 1_000)]), what="the month of the other number")
                await asyncio.to_thread(open_.close)
            await eventually(lambda: have_turned([(0, 70), (2, 1_000)]), what="the month, by the plan that waited")
        finally:
            await connection.close()
        assert not await service.degraded()
        assert await service.terminate() == 0
