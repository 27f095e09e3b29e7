"""A partition that cannot be read is held and named; nothing of any other is lost, and it is read once that is mended.

A byte of the batch at fault was flipped on the broker's disk, so that its checksum is wrong.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import asyncpg

from credit_contracts.envelope import encode
from credit_contracts.incoming import PlanChanged, ProspectExported, ProspectGenerated
from credit_contracts.topics import partition_for
from support.clock import Clock
from support.credits import run_credits
from support.examined import doctor
from support.foreign import kafka_python
from support.foreign.at_rest import flip_a_byte
from support.foreign.batches import RawRecord, batch_of
from support.foreign.wire import append
from support.reconciled import reconcile
from support.replays import WHY, replay, settings_of
from support.topics import delete_records
from support.traffic import event
from support.wait import eventually

if TYPE_CHECKING:
    from subprocess import CompletedProcess

    from credit_contracts.envelope import Event
    from credit_contracts.incoming import IncomingData
    from support.service import Deployment, ServiceProcess

ACCOUNTS = [f"account-{number}" for number in range(48)]
ROUNDS = 15
PARTITIONS = 3
AT = datetime.now(UTC) - timedelta(hours=1)
# Held ones are tried again soon, and expired events looked for often.
FAULTS = (
    "from credit_service.kafka.consume import held_partitions; held_partitions.RETRY_SECONDS = 1.0;"
    " from credit_service.application.processing import timer_sweep; timer_sweep.EXPIRE_EVERY_SECONDS = 0.1"
)


def plan(account: str) -> Event[IncomingData]:
    return event(PlanChanged(account_id=account, plan_id="p", monthly_credits=1_000), AT)


def charges(accounts: list[str], name: str) -> list[Event[IncomingData]]:
    """Two of each account, over two topics."""
    at = AT + timedelta(minutes=1)
    return [event(ProspectGenerated(account_id=a, prospect_id=f"{name}-g"), at) for a in accounts] + [
        event(ProspectExported(account_id=a, prospect_id=f"{name}-e"), at) for a in accounts
    ]


async def produce_unreadable(
    deployment: Deployment, service: ServiceProcess, one: Event[IncomingData]
) -> tuple[tuple[str, int, int], ServiceProcess]:
    """Its place, and the service that meets it: nobody reads it before its byte is flipped."""
    record, topic = encode(one), deployment.topic(one.type)
    number = partition_for(one.data.account_id.encode(), PARTITIONS)
    batch = batch_of([RawRecord(record.value, record.key, [(n.encode(), value) for n, value in record.headers])])
    assert await service.terminate() == 0
    place = topic, number, await append(deployment.kafka, topic, number, batch)
    await flip(deployment, place)
    return place, await (await deployment.start(faults=FAULTS)).ready()


async def flip(deployment: Deployment, place: tuple[str, int, int]) -> None:
    """Done once more, it is as it was."""
    flip_a_byte(await asyncio.to_thread(kafka_python.log_folder, deployment.kafka), *place)


def account_of(number: int, name: str = "of") -> str:
    names = (f"{name}-{n}" for n in range(1_000))
    return next(name for name in names if partition_for(name.encode(), PARTITIONS) == number)


async def passed_over(deployment: Deployment, place: tuple[str, int, int]) -> None:
    """Whoever reads up to beyond it is told where it is: the stored offset is set there, and back."""
    connection = await asyncpg.connect(deployment.database_url)
    try:
        move = 'UPDATE credits.partition_offsets SET next_offset = $3 WHERE topic = $1 AND "partition" = $2'
        await connection.execute(move, *place[:2], place[2] + 1)
        replayed, reconciled = await replay(deployment, *WHY), await reconcile(deployment)
        await connection.execute(move, *place)
    finally:
        await connection.close()
    (could_not_tell,) = reconciled.summary["could_not_tell"]
    assert (replayed.exit_code, reconciled.exit_code) == (1, 2)
    for said in (replayed.said, could_not_tell):
        assert f"{place[0]}/{place[1]} cannot be read from offset" in said
        assert "its checksum is wrong" in said


async def says_held(service: ServiceProcess, place: tuple[str, int, int]) -> bool:
    topic, number, offset = place
    return f"{topic}/{number} at offset {offset} (its checksum is wrong)" in (await service.degraded()).get("held", "")


async def test_what_lies_in_other_partitions_is_decided_all_the_same(deployment: Deployment) -> None:
    await deployment.make_topics()
    service = await (await deployment.start(faults=FAULTS)).ready()
    oracle = deployment.oracle()
    at_fault = event(ProspectExported(account_id=ACCOUNTS[0], prospect_id="at-fault"), AT)
    sent = []
    async with deployment.upstream() as upstream:
        sent += await upstream.send([plan(name) for name in ACCOUNTS])
        sent += await upstream.send(charges(ACCOUNTS, "before"))
        await oracle.drained()
        place, service = await produce_unreadable(deployment, service, at_fault)
        for number in range(ROUNDS):
            sent += await upstream.send(charges(ACCOUNTS, f"{number}"))
    await eventually(lambda: says_held(service, place), what="the partition held and named")
    behind = [one for one in sent if (one.topic, one.partition) == place[:2] and one.offset > place[2]]
    assert len(behind) > ROUNDS

    connection = await asyncpg.connect(deployment.database_url)
    try:

        async def are_decided() -> bool:
            return bool(await connection.fetchval("SELECT count(*) FROM credits.decisions") >= len(sent) - len(behind))

        await eventually(are_decided, what="all but what lies behind it decided")
        stored = 'SELECT next_offset FROM credits.partition_offsets WHERE topic = $1 AND "partition" = $2'
        assert await connection.fetchval(stored, *place[:2]) == place[2]
        assert await connection.fetchval("SELECT count(*) FROM credits.dead_letters") == 0
    finally:
        await connection.close()
    assert {line["cause"] for line in service.logged("partition is held, it cannot be read")} == {
        "its checksum is wrong"
    }

    # Also a service that finds it there at its start; and then a person has the broker drop it.
    assert await service.terminate() == 0
    await passed_over(deployment, place)
    service = await deployment.start(faults=FAULTS)
    await eventually(lambda: says_held(service, place), what="the next one holds it, too")
    await delete_records(deployment.kafka, {place[:2]: place[2] + 1})
    await service.ready()
    observed = await oracle.check()
    assert len(observed.decisions) == len(sent)
    assert [(g["topic"], g["partition"], g["expected_offset"], g["resumed_offset"]) for g in observed.gaps] == [
        (*place, place[2] + 1)
    ]
    assert await service.terminate() == 0


async def test_while_plans_are_held_timers_and_parked_events_of_their_number_wait(deployment: Deployment) -> None:
    """Numbers 0 and 2 are of one lane: what waits in the one is looked for together with what does not in the other."""
    await deployment.make_topics()
    held, free = account_of(0), account_of(2)
    async with Clock.replacing(deployment.database_url, AT + timedelta(hours=1)) as clock:
        service = await (await deployment.start(faults=FAULTS)).ready()
        connection = await asyncpg.connect(deployment.database_url)
        async with deployment.upstream() as upstream:
            early = charges([account_of(0, "parked"), account_of(2, "parked")], "parked")
            await upstream.send([plan(held), plan(free), *early])
            await deployment.oracle().drained()
            place, service = await produce_unreadable(deployment, service, plan(held))
            await eventually(lambda: says_held(service, place), what="held and named")
            await upstream.send(charges([held, free], "while"))
            await deployment.oracle().drained(but=["plan-changed"])
        await clock.set(AT + timedelta(days=40))
        try:

            async def happened() -> tuple[set[int], set[int]]:
                """The partition numbers of which a month has turned, and of which parked events have expired."""
                turned = await connection.fetch(
                    "SELECT partition_hash % 3 AS n FROM credits.decisions JOIN credits.accounts USING (account_no)"
                    " WHERE type = 'renewal'"
                )
                expired = await connection.fetch("SELECT partition AS n FROM credits.dead_letters")
                return {row["n"] for row in turned}, {row["n"] for row in expired}

            async def have_happened(numbers: set[int]) -> bool:
                return await happened() == (numbers, numbers)

            await eventually(lambda: have_happened({2}), what="those of the other number")
            await delete_records(deployment.kafka, {place[:2]: place[2] + 1})
            await eventually(lambda: have_happened({0, 2}), what="those of this number, once plans are read again")
        finally:
            await connection.close()
        await service.ready()
        assert await service.terminate() == 0


async def skip(deployment: Deployment, place: tuple[str, int, int], to: int, *more: str) -> CompletedProcess[str]:
    topic, number, _ = place
    command = ("skip", topic, str(number), "--to", str(to), "--reason", "flipped", "--operator", "lee", "--yes", *more)
    return await asyncio.to_thread(run_credits, *command, folder=deployment.folder, **settings_of(deployment))


async def test_a_person_goes_past_what_cannot_be_read_and_past_nothing_else(deployment: Deployment) -> None:
    await deployment.make_topics()
    service = await (await deployment.start(faults=FAULTS)).ready()
    oracle = deployment.oracle()
    async with deployment.upstream() as upstream:
        sent = await upstream.send([*map(plan, ACCOUNTS), *charges(ACCOUNTS, "before")])
        await oracle.drained()
        at_fault = event(ProspectExported(account_id=ACCOUNTS[0], prospect_id="at-fault"), AT)
        place, service = await produce_unreadable(deployment, service, at_fault)
        sent += await upstream.send(charges(ACCOUNTS, "behind"))
    await eventually(lambda: says_held(service, place), what="the partition held and named")
    examined = await doctor(deployment)
    assert examined.unwell["held"] == "wrong"
    assert f"/{place[1]} from {place[2]} up to {place[2] + 1} (its checksum is wrong)" in examined.told("held")

    stored = "SELECT * FROM credits.partition_offsets ORDER BY 1, 2"
    kept = "SELECT kind, arguments, operator, reason, ended_as FROM credits.operations"
    connection = await asyncpg.connect(deployment.database_url)
    try:
        before = await connection.fetch(stored)
        for to, more, exit_code, said in (
            (place[2] + 2, (), 1, f"offset {place[2] + 1} is readable: nothing from there on is skipped"),
            (place[2], (), 2, f"is not between the stored offset {place[2]}"),
            (place[2] + 1_000, (), 2, "and the end of the log"),
            (place[2] + 1, ("--dry-run",), 0, "it cannot be read: its checksum is wrong\nNothing was skipped."),
        ):
            done = await skip(deployment, place, to, *more)
            assert (done.returncode, said in done.stderr) == (exit_code, True), done.stderr
        assert await connection.fetch(stored) == before
        assert await connection.fetch(kept) == []

        done = await skip(deployment, place, place[2] + 1, "--output", "json")
        assert json.loads(done.stdout) == {
            "topic": "prospect-exported",
            "partition": place[1],
            "from": place[2],
            "to": place[2] + 1,
        }
        (operation,) = await connection.fetch(kept)
        assert (operation["kind"], operation["operator"], operation["reason"]) == ("skip", "lee", "flipped")
        assert operation["ended_as"] == "done"

        async def is_said_no_more() -> bool:
            return await service.degraded() == {}

        await eventually(is_said_no_more, what="read again")
        await oracle.drained()
        assert await connection.fetchval("SELECT count(*) FROM credits.decisions") == len(sent)
        (gap,) = await connection.fetch("SELECT * FROM credits.offset_gaps")
        assert (gap["topic"], gap["partition"], gap["expected_offset"], gap["resumed_offset"]) == (*place, place[2] + 1)
    finally:
        await connection.close()
    # Whoever reads up to beyond it goes past it, too.
    replayed, reconciled = await replay(deployment, *WHY), await reconcile(deployment)
    assert (replayed.exit_code, reconciled.exit_code) == (0, 0), (replayed.said, reconciled.summary)
    again = await skip(deployment, place, place[2] + 1)
    assert again.returncode == 2
    assert await service.terminate() == 0


async def test_while_plans_are_paused_timers_and_parked_events_wait(deployment: Deployment) -> None:
    await deployment.make_topics()
    account = account_of(0)
    async with Clock.replacing(deployment.database_url, AT + timedelta(hours=1)) as clock:
        service = await (await deployment.start(faults=FAULTS)).ready()
        connection = await asyncpg.connect(deployment.database_url)
        try:
            async with deployment.upstream() as upstream:
                await upstream.send([plan(account), *charges([account_of(0, "parked")], "parked")])
                await deployment.oracle().drained()
                topic = deployment.topic("plan-changed")
                await connection.execute("INSERT INTO credits.paused_topics VALUES ($1, now(), 'a test')", topic)

                async def is_paused() -> bool:
                    return "topics" in await service.degraded()

                await eventually(is_paused, what="paused, and said so")
                # The plan that they wait for lies there, unread.
                await upstream.send([plan(account_of(0, "parked"))])
                await clock.set(AT + timedelta(days=40))
                # Sweeps go on meanwhile, by what another topic brings.
                await upstream.send(charges([account_of(2, "other")], "other"))
                await deployment.oracle().drained(but=["plan-changed"])
            turned = "SELECT count(*) FROM credits.decisions WHERE type = 'renewal'"
            assert await connection.fetchval(turned) == 0
            assert await connection.fetchval("SELECT count(*) FROM credits.dead_letters") == 0
            await connection.execute("DELETE FROM credits.paused_topics")

            async def have_happened() -> bool:
                # 40 days later the parked ones are decided with their plan, and none has expired.
                letters = await connection.fetchval("SELECT count(*) FROM credits.dead_letters")
                return bool(await connection.fetchval(turned)) and letters == 0

            await eventually(have_happened, what="the month turned")
        finally:
            await connection.close()
        assert await service.terminate() == 0
