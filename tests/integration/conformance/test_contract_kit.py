"""The programs of the contracts' README against the real service, and messages of other versions of the contract."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import sys
import zlib
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from credit_contracts import PlanChanged, SequenceGuard, partition_for
from credit_contracts.dead_letters import DETAIL_HEADER, REASON_HEADER
from credit_local_stack.process import die_with_parent
from support.observed import DEAD_LETTERS
from support.patience import patience
from support.readme import programs
from support.service import Deployment
from support.topics import expire_members
from support.traffic import event
from support.wait import eventually

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator

CLIENTS = ("aiokafka", "faststream", "confluent")
GROUPS = {"aiokafka": "dashboards", "faststream": "notifications", "confluent": "campaigns"}
ACCOUNT = "acc_5f0c"
PROSPECTS = {"pro_91be", "pro_77aa", "pro_10c3"}
PARTITIONS = 5
SEND_SECONDS_MAX = 60
READ_SECONDS_MAX = 60

FIRST_DAY = [f"{ACCOUNT} has {balance} credits (change {n})" for n, balance in enumerate([2, 1, 0], 1)]
LACKS = f"{ACCOUNT} lacks 1 credits"


@dataclass
class Program:
    """A program of the README, saved in a folder of its own and run there."""

    name: str
    folder: Path
    deployment: Deployment

    @property
    def printed(self) -> list[str]:
        """What it says of accounts; FastStream logs to stdout as well."""
        lines = (self.folder / f"{self.name}.out").read_text().splitlines()
        return [line for line in lines if line.startswith("acc_")]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Process]:
        self.folder.mkdir(exist_ok=True)
        for name, text in programs().items():
            (self.folder / name).write_text(text)
        environment = {
            "CREDITS_KAFKA_BOOTSTRAP_SERVERS": self.deployment.kafka,
            "CREDITS_TOPIC_PREFIX": self.deployment.prefix,
        }
        with (self.folder / f"{self.name}.out").open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                f"{self.name}.py",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                cwd=self.folder,
                env=os.environ | environment,
                preexec_fn=die_with_parent(signal.SIGKILL),
            )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def run(self) -> None:
        async with self.running() as process, asyncio.timeout(patience(SEND_SECONDS_MAX)):
            assert await process.wait() == 0

    def has_read_first_day(self) -> bool:
        # What it keeps, and not what it printed: that is a moment earlier, and it is killed next.
        guard = self.guard()
        return guard.changes.newest == len(FIRST_DAY) and guard.declines.newest > 0

    def has_read_again(self) -> bool:
        guard = self.guard()
        return guard.changes.newest == 7 and not guard.missing

    def guard(self) -> SequenceGuard:
        with closing(sqlite3.connect(self.folder / "balances.sqlite")) as db:
            (text,) = db.execute("SELECT guard FROM guards WHERE account_id = ?", [ACCOUNT]).fetchone()
        return SequenceGuard.model_validate_json(text)

    def balance(self) -> int:
        with closing(sqlite3.connect(self.folder / "balances.sqlite")) as db:
            (balance,) = db.execute("SELECT balance FROM balances WHERE account_id = ?", [ACCOUNT]).fetchone()
        return int(balance)


async def test_programs_of_the_readme_send_and_read_and_read_again(deployment: Deployment, tmp_path: Path) -> None:
    # With librdkafka's own partitioner the account would lie elsewhere.
    assert zlib.crc32(ACCOUNT.encode()) % PARTITIONS != partition_for(ACCOUNT.encode(), PARTITIONS)
    await deployment.make_topics(partitions=PARTITIONS)
    service = await deployment.start()
    await change_plan(deployment, 2, datetime.now(UTC) - timedelta(days=1))

    await asyncio.gather(
        *(Program(f"send_{client}", tmp_path / f"send-{client}", deployment).run() for client in CLIENTS)
    )
    sent = await read_all(deployment, "prospect-generated", len(PROSPECTS))
    assert {json.loads(record.value)["prospect_id"] for record in sent} == PROSPECTS
    assert {record.partition for record in sent} == {partition_for(ACCOUNT.encode(), PARTITIONS)}

    readers = {client: Program(f"read_{client}", tmp_path / f"read-{client}", deployment) for client in CLIENTS}
    async with all_running(deployment.kafka, readers):
        for reader in readers.values():
            await eventually(
                reader.has_read_first_day, within_seconds=READ_SECONDS_MAX, what=f"{reader.name} has read all"
            )
            assert sorted(reader.printed) == sorted([*FIRST_DAY, LACKS])
    for reader in readers.values():
        assert (reader.balance(), reader.guard().missing, reader.guard().changes.newest) == (0, (), 3)

    # While nobody reads, four more changes come, and the groups are moved on past all of them but the last.
    for monthly_credits in (3, 4, 5, 6):
        await change_plan(deployment, monthly_credits, datetime.now(UTC))
    changes = await read_all(deployment, "balance-changed", 7)
    for group in GROUPS.values():
        await move_group(deployment, group, changes[-1])
    async with all_running(deployment.kafka, readers):
        for reader in readers.values():
            await eventually(
                reader.has_read_again, within_seconds=READ_SECONDS_MAX, what=f"{reader.name} has read again"
            )
            # The last change is shown, no earlier one replaces it, and what was read before is not told again.
            assert reader.printed[4:] == [f"{ACCOUNT} has 4 credits (change 7)"]
            assert reader.balance() == 4
    assert await service.terminate() == 0


async def change_plan(deployment: Deployment, monthly_credits: int, at: datetime) -> None:
    async with deployment.upstream() as upstream:
        plan = PlanChanged(account_id=ACCOUNT, plan_id="plan", monthly_credits=monthly_credits)
        await upstream.send([event(plan, at)])


@asynccontextmanager
async def all_running(kafka: str, readers: dict[str, Program]) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for reader in readers.values():
            await stack.enter_async_context(reader.running())
        yield
    # They were killed; the broker would wait for them.
    for group in GROUPS.values():
        await expire_members(kafka, group)


async def read_all(deployment: Deployment, topic: str, count: int) -> list[Any]:
    """The first `count` records of a topic, waited for."""
    consumer = AIOKafkaConsumer(
        deployment.topic(topic),
        bootstrap_servers=deployment.kafka,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    async with consumer, asyncio.timeout(patience(30)):
        return [await consumer.getone() for _ in range(count)]


async def move_group(deployment: Deployment, group: str, record: Any) -> None:
    """Makes a group without members go on at this record."""
    consumer = AIOKafkaConsumer(bootstrap_servers=deployment.kafka, group_id=group, enable_auto_commit=False)
    async with consumer:
        place = TopicPartition(record.topic, record.partition)
        consumer.assign([place])
        await eventually(lambda: commit(consumer, place, record.offset), what=f"{group} is moved")


async def commit(consumer: Any, place: TopicPartition, offset: int) -> bool:
    await consumer.commit({place: offset})
    return True


GOOD = {"account_id": ACCOUNT, "prospect_id": "p"}
STRUCTURED = [("content-type", b"application/cloudevents+json")]


def attributes(event_id: str) -> dict[str, str]:
    at = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    return {"specversion": "1.0", "id": event_id, "source": "/campaigns", "type": "prospect-generated", "time": at}


def binary(event_id: str) -> list[tuple[str, bytes | None]]:
    return [(f"ce_{name}", value.encode()) for name, value in attributes(event_id).items()]


async def test_fields_of_a_newer_contract_are_taken_and_a_field_that_lacks_is_a_dead_letter(
    deployment: Deployment,
) -> None:
    newer = {"region": "eu", "score": 1.5, "tags": ["a", {"b": None}], "vendor": {"name": "x"}}
    await deployment.make_topics(partitions=1)
    service = await deployment.start()
    await change_plan(deployment, 5, datetime.now(UTC) - timedelta(days=1))
    async with deployment.upstream() as upstream:
        data = json.dumps(GOOD | newer).encode()
        extension: tuple[str, bytes | None] = ("ce_traceparent", b"00-1-2-01")
        await upstream.send_raw("prospect-generated", data, [*binary("1"), extension], ACCOUNT.encode())
        whole = attributes("2") | {"partitionkey": ACCOUNT, "data": GOOD | newer | {"prospect_id": "q"}}
        await upstream.send_raw("prospect-generated", json.dumps(whole).encode(), STRUCTURED, ACCOUNT.encode())
        lacking = json.dumps({"account_id": ACCOUNT} | newer).encode()
        await upstream.send_raw("prospect-generated", lacking, binary("3"), ACCOUNT.encode())
    changes = await read_all(deployment, "balance-changed", 3)
    assert [json.loads(record.value)["balance"] for record in changes] == [5, 4, 3]
    assert [json.loads(record.value)["prospect_id"] for record in changes] == [None, "p", "q"]
    (letter,) = await read_all(deployment, DEAD_LETTERS, 1)
    headers = dict(letter.headers)
    assert (headers[REASON_HEADER], headers[DETAIL_HEADER]) == (b"bad-data", b"prospect_id: missing")
    assert letter.value == lacking
    assert await service.terminate() == 0
