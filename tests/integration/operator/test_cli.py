"""The commands as processes, on the real stack."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from credit_contracts import (
    BalanceChanged,
    Cause,
    CreditsPurchased,
    Event,
    InsufficientCredits,
    PlanChanged,
    ProspectGenerated,
    decode,
    decode_outgoing,
    encode,
    partition_for,
)
from credit_contracts.topics import INCOMING_TOPICS, TOPICS
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.topics import create_topics, partition_counts
from credit_service.postgres.migrate import newest_version
from support.credits import CREDITS, decide_events, environment, run_credits
from support.foreign import kafka_python
from support.foreign.at_rest import flip_a_byte
from support.foreign.batches import RawRecord, batch_of, with_header_name
from support.foreign.wire import append
from support.forked import Piped, piped
from support.patience import patience
from support.stack import fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from credit_contracts import IncomingData, OutgoingData
    from credit_local_stack import Addresses

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
NOWHERE = "127.0.0.1:1"
NO_DATABASE = f"postgresql://credits:hunter2@{NOWHERE}/credits"


@dataclass(frozen=True)
class Deployment:
    """Commands with the settings of one deployment, in a folder without a `.env`."""

    database_url: str
    kafka_bootstrap_servers: str
    topic_prefix: str
    folder: Path

    def settings(self) -> dict[str, object]:
        return {
            "database_url": self.database_url,
            "kafka_bootstrap_servers": self.kafka_bootstrap_servers,
            "topic_prefix": self.topic_prefix,
            "http_port": 0,
            "health_port": 0,
        }

    def run(self, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
        return run_credits(*arguments, folder=self.folder, **self.settings() | settings)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [CREDITS, *arguments],
            env=environment(**self.settings()),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def speak(self, *arguments: str) -> Piped[str]:
        return piped(*arguments, environment=environment(**self.settings()), folder=self.folder)

    async def make_topics(self) -> KafkaConnection:
        connection = KafkaConnection(self.kafka_bootstrap_servers, "tests", self.topic_prefix)
        await create_topics(connection, None)
        return connection


@pytest.fixture
def deployment(database_url: str, kafka: str, topic_prefix: str, tmp_path: Path) -> Deployment:
    return Deployment(database_url, kafka, topic_prefix, tmp_path)


@pytest.fixture
def nowhere(topic_prefix: str, tmp_path: Path) -> Deployment:
    """A deployment of which nothing answers."""
    return Deployment(NO_DATABASE, NOWHERE, topic_prefix, tmp_path)


@pytest.fixture
def empty_database_url(stack: Addresses) -> Iterator[str]:
    with fresh_database(stack.database_url, "template1") as url:
        yield url


def assert_one_line(done: subprocess.CompletedProcess[str], exit_code: int, *words: str) -> None:
    """It ended with `exit_code` and one line of talk that has all the words, and no data."""
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (exit_code, "", 1), done.stderr
    assert done.stderr.startswith("credits: ")
    for word in words:
        assert word in done.stderr


# --- what holds for all of them


IMPORTED = """
import sys
from credit_service.cli.main import main
assert main() == 0
heavy = {"aiokafka", "asyncpg", "faststream", "opentelemetry", "prometheus_client", "pydantic"}
heavy |= {"starlette", "structlog", "uvicorn"}
print(*sorted(heavy & sys.modules.keys()), file=sys.stderr)
"""


@pytest.mark.parametrize(("arguments", "imported"), [(["--help"], ""), (["account", "list"], "asyncpg pydantic")])
def test_a_command_imports_no_heavy_library_but_those_it_needs(
    arguments: list[str], imported: str, database_url: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, *arguments],
        env=environment(database_url=database_url, kafka_bootstrap_servers="127.0.0.1:1"),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.stderr.splitlines()[-1:] == [imported]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["account", "show", "acme"], "the database does not answer"),
        (["resume", "email-bounced"], "the database does not answer"),
        (["topics", "create"], "Kafka does not answer"),
        (["tail"], "Kafka does not answer"),
        (["trigger", "prospect-generated", "acme", "--prospect", "p1"], "Kafka does not answer"),
    ],
)
def test_a_server_that_does_not_answer_is_one_line_and_exit_code_1(
    command: list[str], words: str, nowhere: Deployment
) -> None:
    done = nowhere.run(*command)
    assert_one_line(done, 1, words)
    assert "hunter2" not in done.stderr


# --- migrate


async def test_migrate_brings_an_empty_database_up_and_may_be_repeated(
    empty_database_url: str, deployment: Deployment
) -> None:
    for _ in range(2):
        done = deployment.run("migrate", database_url=empty_database_url)
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr.endswith(f"The database is at version {newest_version()}.\n")
    connection = await asyncpg.connect(empty_database_url)
    assert await connection.fetchval("SELECT count(*) FROM credits.accounts") == 0
    await connection.close()


async def test_migrate_says_why_it_could_not(empty_database_url: str, deployment: Deployment) -> None:
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute("CREATE SCHEMA credits; CREATE TABLE credits.accounts ()")
    await connection.close()
    done = deployment.run("migrate", database_url=empty_database_url)
    assert_one_line(done, 1, "the database was not migrated", '"accounts" already exists')


def test_without_migrations_a_command_says_to_run_them(empty_database_url: str, deployment: Deployment) -> None:
    done = deployment.run("account", "show", "acme", database_url=empty_database_url)
    assert_one_line(done, 1, "database is not migrated: run `credits migrate`")


async def test_an_older_schema_is_named_with_both_versions(deployment: Deployment) -> None:
    connection = await asyncpg.connect(deployment.database_url)
    await connection.execute("DELETE FROM public.schema_migrations WHERE version = $1", newest_version())
    older = await connection.fetchval("SELECT max(version) FROM public.schema_migrations")
    await connection.close()
    assert_one_line(deployment.run("account", "show", "acme"), 1, older, newest_version(), "credits migrate")


# --- topics


def test_topics_create_tells_what_was_created_and_what_was_there(deployment: Deployment) -> None:
    first = deployment.run("topics", "create", "--output", "json")
    assert first.returncode == 0
    made = {topic["name"]: topic["created"] for topic in json.loads(first.stdout)}
    assert {deployment.topic_prefix + contract.name for contract in TOPICS} < made.keys()
    assert set(made.values()) == {True}
    second = deployment.run("topics", "create")
    assert (second.returncode, second.stderr) == (0, "")
    assert {line.split()[0] for line in second.stdout.splitlines()} == {"exists"}
    assert len(second.stdout.splitlines()) == len(made)


def test_topics_create_says_what_the_broker_refuses(deployment: Deployment) -> None:
    assert_one_line(deployment.run("topics", "create", "--replication-factor", "7"), 1, "replication factor of 7")


# --- account show


async def with_an_account(deployment: Deployment) -> None:
    plan = PlanChanged(account_id="acme", plan_id="pro", monthly_credits=1500, seats=3)
    charge = ProspectGenerated(account_id="acme", prospect_id="p1")
    await decide_events(
        deployment.database_url,
        Event("/tests", "e0", "plan-changed", NOON, plan),
        Event("/tests", "e1", "prospect-generated", NOON + timedelta(minutes=1), charge),
    )


async def test_an_account_for_people(deployment: Deployment) -> None:
    await with_an_account(deployment)
    done = deployment.run("account", "show", "acme")
    assert (done.returncode, done.stderr) == (0, "")
    for words in ("acme", "1,499 credits", "pro: 1,500 credits a month, 3 seats", "2026-03-10 12:00", "plan"):
        assert words in done.stdout


async def test_an_account_for_programs(deployment: Deployment) -> None:
    await with_an_account(deployment)
    done = deployment.run("account", "show", "acme", "--output", "json")
    account = json.loads(done.stdout)
    assert list(account) == [
        "account_id",
        "balance",
        "unlimited",
        "sequence",
        "plan",
        "period",
        "grants",
        "declined_in_period",
    ]
    assert (account["balance"], account["sequence"]) == (1499, 2)
    assert account["grants"][0]["expires_at"] == "2026-04-10T12:00:00.000000Z"


@pytest.mark.parametrize("account_id", ["nobody", "[bold]nobody[/]"])
def test_an_unknown_account_is_one_line_and_exit_code_2(account_id: str, deployment: Deployment) -> None:
    assert_one_line(deployment.run("account", "show", account_id), 2, f"there is no account '{account_id}'")


# --- trigger


async def record_at(deployment: Deployment, topic: str, partition: int, offset: int) -> Event[IncomingData]:
    consumer = AIOKafkaConsumer(bootstrap_servers=deployment.kafka_bootstrap_servers)
    try:
        await consumer.start()
        place = TopicPartition(topic, partition)
        consumer.assign([place])
        consumer.seek(place, offset)
        record = await asyncio.wait_for(consumer.getone(), patience(30))
    finally:
        await consumer.stop()
    read = decode(record.headers, record.value)
    assert isinstance(read, Event)
    assert record.key == read.data.account_id.encode()
    return read


async def test_trigger_sends_what_a_producer_would_and_tells_where_it_lies(deployment: Deployment) -> None:
    await deployment.make_topics()
    done = deployment.run(
        *("trigger", "plan-changed", "globex", "--plan-id", "pro", "--monthly-credits", "unlimited", "--seats", "3"),
        *("--id", "e1", "--source", "/billing", "--time", "2026-03-10T12:00:00Z", "--output", "json"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    sent = json.loads(done.stdout)
    assert sent["topic"] == f"{deployment.topic_prefix}plan-changed"
    assert sent["partition"] == partition_for(b"globex", 12)
    data = PlanChanged(account_id="globex", plan_id="pro", monthly_credits=None, seats=3)
    expected = Event("/billing", "e1", "plan-changed", NOON, data)
    assert await record_at(deployment, sent["topic"], sent["partition"], sent["offset"]) == expected


async def test_trigger_sends_the_data_that_its_options_make(deployment: Deployment) -> None:
    await deployment.make_topics()
    done = deployment.run(
        *("trigger", "credits-purchased", "globex", "--purchase-id", "i1", "--credits", "500"),
        *("--expires-at", "2026-03-10T13:00:00+01:00", "--time", "2026-03-10T11:00:00Z", "--output", "json"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    sent = json.loads(done.stdout)
    read = await record_at(deployment, sent["topic"], sent["partition"], sent["offset"])
    assert read.data == CreditsPurchased(account_id="globex", purchase_id="i1", credits=500, expires_at=NOON)


async def test_each_attempt_has_an_id_of_its_own_unless_one_is_given(deployment: Deployment) -> None:
    await deployment.make_topics()
    ids = set()
    for _ in range(2):
        done = deployment.run("trigger", "prospect-generated", "acme", "--prospect", "p1", "--output", "json")
        ids.add(json.loads(done.stdout)["id"])
    assert len(ids) == 2


def test_trigger_makes_no_topic(deployment: Deployment) -> None:
    done = deployment.run("trigger", "prospect-generated", "acme", "--prospect", "p1")
    assert_one_line(done, 1, f"topic {deployment.topic_prefix}prospect-generated is missing", "credits topics create")


# --- tail


def changed(account_id: str, sequence: int) -> Event[OutgoingData]:
    data = BalanceChanged(
        account_id=account_id,
        sequence=sequence,
        previous_balance=5,
        balance=4,
        delta=-1,
        reason="charge",
        cause=Cause(source="/tests", id="e1", type="prospect-generated"),
        prospect_id="p1",
        unlimited=False,
        period_ends_at=None,
        occurred_at=NOON,
        recorded_at=NOON,
    )
    return Event("/credit-service", f"{account_id}:{sequence}", "balance-changed", NOON, data)


def declined(account_id: str) -> Event[OutgoingData]:
    data = InsufficientCredits(
        account_id=account_id,
        required=1,
        available=0,
        shortfall=1,
        cause=Cause(source="/tests", id="e2", type="prospect-exported"),
        prospect_id="p2",
        declined_in_period=7,
        period_ends_at=None,
        occurred_at=NOON,
        recorded_at=NOON,
    )
    return Event("/credit-service", f"{account_id}:d:9", "insufficient-credits", NOON, data)


async def publish(connection: KafkaConnection, *events: Event[OutgoingData], commit: bool = True) -> None:
    """In one transaction, as the relay does."""
    producer = AIOKafkaProducer(
        bootstrap_servers=connection.bootstrap_servers, transactional_id=f"{connection.topic_prefix}tests"
    )
    try:
        await producer.start()
        await producer.begin_transaction()
        for event in events:
            record = encode(event)
            await producer.send_and_wait(connection.topic(event.type), record.value, record.key, headers=record.headers)
        await (producer.commit_transaction() if commit else producer.abort_transaction())
    finally:
        await producer.stop()


async def partitions_of(connection: KafkaConnection, topic: str) -> int:
    return (await partition_counts(connection, [topic], "read"))[topic]


async def test_tail_shows_a_line_an_event(deployment: Deployment) -> None:
    connection = await deployment.make_topics()
    await publish(connection, changed("acme", 3), declined("acme"))
    done = await asyncio.to_thread(deployment.run, "tail", "--from-beginning", "--max", "2")
    assert done.returncode == 0
    assert done.stderr.count("\n") == 1
    assert sorted(done.stdout.splitlines()) == [
        "2026-03-10 12:00:00Z  acme  #3  charge  -1  5 -> 4  prospect p1  by prospect-generated e1",
        "2026-03-10 12:00:00Z  acme  declined  1 short  decline 7 of this period  prospect p2  by prospect-exported e2",
    ]


async def test_tail_as_json_gives_cloud_events_of_the_account_that_was_asked_for(deployment: Deployment) -> None:
    connection = await deployment.make_topics()
    wanted = [changed("acme", 1), changed("acme", 2)]
    await publish(connection, wanted[0], changed("other", 1), declined("other"), wanted[1])
    done = await asyncio.to_thread(
        deployment.run, "tail", "--from-beginning", "--account", "acme", "--max", "2", "--output", "json"
    )
    headers = [("content-type", b"application/cloudevents+json")]
    assert [decode_outgoing(headers, line.encode()) for line in done.stdout.splitlines()] == wanted


async def test_tail_shows_only_what_was_committed(deployment: Deployment) -> None:
    connection = await deployment.make_topics()
    await publish(connection, changed("acme", 1), commit=False)
    await publish(connection, changed("acme", 2))
    done = await asyncio.to_thread(deployment.run, "tail", "--from-beginning", "--max", "1")
    assert "#2" in done.stdout


async def test_tail_goes_past_what_somebody_else_wrote_and_nobody_can_read(deployment: Deployment) -> None:
    connection = await deployment.make_topics()
    await publish(connection, changed("acme", 1))
    topic, kafka = connection.topic("balance-changed"), ",".join(connection.servers)
    number = partition_for(b"acme", await partitions_of(connection, topic))
    foreign = await append(kafka, topic, number, with_header_name(b"\xff", b"{}", [], b"acme"))
    damaged = await append(kafka, topic, number, batch_of([RawRecord(b"{}", b"acme")]))
    folder = await asyncio.to_thread(kafka_python.log_folder, kafka)
    flip_a_byte(folder, topic, number, damaged)
    await publish(connection, changed("acme", 2))
    done = await asyncio.to_thread(deployment.run, "tail", "--from-beginning", "--max", "2")
    assert ["#1" in done.stdout, "#2" in done.stdout] == [True, True]
    at = f"unreadable: {topic}, partition {number}"
    assert f"{at}, offset {foreign}: " in done.stderr
    assert f"{at}, from offset {damaged} on: its checksum is wrong" in done.stderr


async def test_tail_begins_with_what_comes_now_and_ends_on_ctrl_c(deployment: Deployment) -> None:
    connection = await deployment.make_topics()
    await publish(connection, changed("acme", 1))
    # Until its partition hears that the transaction is over, who begins at the end begins before it.
    await asyncio.to_thread(deployment.run, "tail", "--from-beginning", "--max", "1")
    with deployment.start("tail") as process:
        assert process.stderr is not None
        assert process.stdout is not None
        assert "Ctrl-C" in await asyncio.to_thread(process.stderr.readline)
        await publish(connection, changed("acme", 2))
        assert "#2" in await asyncio.to_thread(process.stdout.readline)
        process.send_signal(signal.SIGINT)
        rest, talk = await asyncio.to_thread(process.communicate, timeout=patience(20))
    assert (process.returncode, rest, talk) == (130, "", "")


async def test_nobody_reading_on_is_no_traceback(deployment: Deployment) -> None:
    connection = await deployment.make_topics()
    await publish(connection, *(changed("acme", n) for n in range(1, 20)))
    with deployment.start("tail", "--from-beginning") as process:
        assert process.stderr is not None
        assert process.stdout is not None
        process.stdout.close()
        talk = await asyncio.to_thread(process.stderr.read)
        await asyncio.to_thread(process.wait, timeout=patience(20))
    assert talk.count("\n") == 1
    assert "Ctrl-C" in talk


async def test_nobody_reading_an_account_is_no_traceback(deployment: Deployment) -> None:
    await with_an_account(deployment)
    for output in ("text", "json"):
        with deployment.speak("account", "show", "acme", "--output", output) as process:
            process.stdout.close()
            assert await asyncio.to_thread(process.stderr.read) == ""


def test_tail_says_which_topics_are_missing(deployment: Deployment) -> None:
    done = deployment.run("tail")
    assert_one_line(done, 1, f"{deployment.topic_prefix}balance-changed", "credits topics create")


# --- resume


async def paused(deployment: Deployment, name: str) -> None:
    connection = await asyncpg.connect(deployment.database_url)
    await connection.execute(
        "INSERT INTO credits.paused_topics (topic, paused_at, reason) VALUES ($1, now(), 'test')",
        deployment.topic_prefix + name,
    )
    await connection.close()


async def test_resume_lets_a_paused_topic_go_on_once(deployment: Deployment) -> None:
    await paused(deployment, "email-bounced")
    await paused(deployment, "plan-changed")
    first = deployment.run("resume", "email-bounced")
    assert (first.returncode, first.stdout) == (0, "email-bounced was paused and is resumed\n")
    second = deployment.run("resume", "email-bounced", "--output", "json")
    assert (second.returncode, json.loads(second.stdout)) == (1, {"topic": "email-bounced", "was_paused": False})
    connection = await asyncpg.connect(deployment.database_url)
    left = await connection.fetch("SELECT topic FROM credits.paused_topics")
    await connection.close()
    assert [row["topic"] for row in left] == [f"{deployment.topic_prefix}plan-changed"]


def test_resume_of_what_is_no_incoming_topic_is_wrong_use(deployment: Deployment) -> None:
    assert_one_line(deployment.run("resume", "balance-changed"), 2, "balance-changed", *INCOMING_TOPICS)


# --- serve


async def test_serve_says_which_address_it_cannot_have(deployment: Deployment) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = await asyncio.to_thread(deployment.run, "serve", http_port=port)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (f"credits: cannot listen on 127.0.0.1, port {port}: Address already in use")
    assert "Traceback" not in done.stderr


async def test_serve_off_a_terminal_logs_json_and_ends_on_sigterm(nowhere: Deployment) -> None:
    with nowhere.speak("serve") as process:
        first = json.loads(await asyncio.to_thread(process.stderr.readline))
        assert first["level"] == "warning"
        process.send_signal(signal.SIGTERM)
        rest, _ = await asyncio.to_thread(process.communicate)
    assert (process.returncode, rest) == (0, "")


def test_serve_on_a_terminal_logs_for_people(nowhere: Deployment) -> None:
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        [CREDITS, "serve"], env=environment(**nowhere.settings()), cwd=nowhere.folder, stderr=terminal
    ) as process:
        os.close(terminal)
        line = os.read(controller, 4096).decode()
        process.send_signal(signal.SIGTERM)
    os.close(controller)
    assert not line.startswith("{")
    assert "warning" in line
