from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import psutil  # type: ignore[import-untyped]
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.client import AIOKafkaClient

from credit_local_stack import Addresses, Stack, StackError, servers
from support.patience import patience
from support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.xdist_group("local_stack"), pytest.mark.local_stack, pytest.mark.stack]

COMMAND = Path(sys.executable).with_name("credits-stack")
GIVEN = Addresses("postgresql://somebody:secret@db.test:5432/credits", "kafka.test:9092")


@pytest.fixture(scope="module")
def own_stack() -> Iterator[Stack]:
    with Stack() as stack:
        yield stack


@contextmanager
def up(env_file: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    # A process group of its own, as the foreground job of a terminal has.
    with subprocess.Popen(
        [COMMAND, "up", "--env-file", env_file, *options],
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
        env=environment(),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CREDITS_")}
    return {**kept, **more}


async def written(env_file: Path) -> dict[str, str]:
    await eventually(env_file.exists, within_seconds=120, what="both servers answer")
    return lines(env_file)


def lines(env_file: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in env_file.read_text().splitlines())


def descendants(pid: int) -> list[psutil.Process]:
    found: list[psutil.Process] = psutil.Process(pid).children(recursive=True)
    names = " ".join(process.name() for process in found)
    assert "postgres" in names
    assert "java" in names
    return found


def is_gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def all_gone(processes: list[psutil.Process]) -> None:
    await eventually(lambda: all(map(is_gone, processes)), what=f"end of {processes}")


def data_folder(processes: list[psutil.Process]) -> Path:
    return next(Path(process.cwd()) for process in processes if "java" in process.name())


def listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


async def test_postgres_is_durable_and_utf8(own_stack: Stack) -> None:
    connection = await asyncpg.connect(own_stack.database_url)
    settings = {
        name: await connection.fetchval(f"SHOW {name}") for name in ("fsync", "synchronous_commit", "server_encoding")
    }
    version = connection.get_server_version()
    await connection.close()

    assert settings == {"fsync": "on", "synchronous_commit": "on", "server_encoding": "UTF8"}
    assert version.major == 18


async def test_postgres_asks_for_its_password(own_stack: Stack) -> None:
    without = own_stack.database_url.replace(own_stack.database_url.split(":")[2].split("@")[0], "wrong")

    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(without)


async def test_postgres_keeps_what_was_committed_when_it_is_killed(own_stack: Stack) -> None:
    connection = await asyncpg.connect(own_stack.database_url)
    await connection.execute("CREATE TABLE kept (id int); INSERT INTO kept VALUES (42)")
    url, pid = own_stack.database_url, own_stack.postgres_pid

    own_stack.kill_postgres()
    connection.terminate()
    assert own_stack.postgres_pid is None
    assert not listens(f"127.0.0.1:{own_stack.postgres_port}")
    own_stack.start_postgres()

    assert own_stack.database_url == url
    assert own_stack.postgres_pid != pid
    connection = await asyncpg.connect(url)
    assert await connection.fetchval("SELECT id FROM kept") == 42
    await connection.close()


async def test_kafka_keeps_what_was_acknowledged_when_it_is_killed(own_stack: Stack, topic_prefix: str) -> None:
    topic, servers_before = f"{topic_prefix}kept", own_stack.bootstrap_servers
    admin = AIOKafkaAdminClient(bootstrap_servers=servers_before)
    await admin.start()
    await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=servers_before, acks="all") as producer:
        await producer.send_and_wait(topic, b"42")

    await asyncio.to_thread(own_stack.kill_kafka)
    assert own_stack.kafka_pid is None
    assert not listens(servers_before)
    await asyncio.to_thread(own_stack.start_kafka)

    assert own_stack.bootstrap_servers == servers_before
    consumer = AIOKafkaConsumer(bootstrap_servers=servers_before, auto_offset_reset="earliest")
    async with consumer:
        consumer.assign([TopicPartition(topic, 0)])
        record = await asyncio.wait_for(consumer.getone(), patience(30))
    assert record.value == b"42"


async def test_kafka_sends_its_clients_to_the_advertised_port() -> None:
    with Stack(advertised_kafka_port=1) as stack:
        client = AIOKafkaClient(bootstrap_servers=stack.bootstrap_servers)
        await client.bootstrap()
        advertised = [broker.port for broker in client.cluster.brokers()]
        await client.close()

    assert advertised == [1]


@pytest.mark.parametrize(("asked", "told"), [({}, "0"), ({"kafka_rebalance_delay_ms": 3_000}, "3000")])
async def test_an_empty_group_waits_for_more_members_for_as_long_as_is_asked(asked: dict[str, Any], told: str) -> None:
    with Stack(with_postgres=False, **asked) as stack:
        admin = AIOKafkaAdminClient(bootstrap_servers=stack.bootstrap_servers)
        try:
            await admin.start()
            [answer] = await admin.describe_configs([ConfigResource(ConfigResourceType.BROKER, "1")])
        finally:
            await admin.close()
    [(_, _, _, _, settings)] = answer.resources
    assert [value for name, value, *_ in settings if name == "group.initial.rebalance.delay.ms"] == [told]


async def test_nothing_outlives_a_killed_parent(tmp_path: Path) -> None:
    env_file = tmp_path / "env"
    with up(env_file) as parent:
        kafka = (await written(env_file))["CREDITS_KAFKA_BOOTSTRAP_SERVERS"]
        processes = descendants(parent.pid)
        data = data_folder(processes)
        assert data.exists()

        parent.kill()
        await all_gone(processes)

    assert not data.exists()
    assert not listens(kafka)


async def test_no_server_outlives_a_killed_supervisor() -> None:
    with Stack() as stack:
        processes = descendants(stack.supervisor_pid)
        os.kill(stack.supervisor_pid, signal.SIGKILL)
        await all_gone(processes)

        with pytest.raises(StackError, match="supervisor is gone"):
            stack.kill_kafka()

    assert not stack.data.exists()


def test_ctrl_c_does_not_reach_the_servers_past_us(own_stack: Stack) -> None:
    groups = {os.getpgid(process.pid) for process in descendants(own_stack.supervisor_pid)}

    assert os.getpgid(0) not in groups | {os.getpgid(own_stack.supervisor_pid)}


async def test_up_ends_with_ctrl_c_and_leaves_no_env_file(tmp_path: Path) -> None:
    env_file, data = tmp_path / "env", tmp_path / "data"
    with up(env_file, "--data", str(data)) as process:
        addresses = await written(env_file)
        processes = descendants(process.pid)

        os.killpg(process.pid, signal.SIGINT)
        await eventually(lambda: process.poll() is not None, within_seconds=120, what="end of credits-stack up")

        assert process.returncode == 0
    assert list(addresses) == ["CREDITS_DATABASE_URL", "CREDITS_KAFKA_BOOTSTRAP_SERVERS"]
    assert addresses["CREDITS_DATABASE_URL"].endswith("/credits")
    assert all(map(is_gone, processes))
    assert os.listdir(tmp_path) == ["data"]
    assert "database system is shut down" in (data / "postgres.log").read_text()


async def test_up_ends_with_the_reason_when_a_server_ends_by_itself(tmp_path: Path) -> None:
    env_file = tmp_path / "env"
    with up(env_file) as process:
        await written(env_file)
        with env_file.open("a") as held:
            held.write("CREDITS_HTTP_TOKENS='[]'\n")
        processes = descendants(process.pid)
        next(process for process in processes if "java" in process.name()).kill()

        await eventually(lambda: process.poll() is not None, within_seconds=120, what="end of credits-stack up")
        assert process.stderr
        assert "Kafka has ended by itself" in process.stderr.read()

    assert process.returncode == 1
    assert all(map(is_gone, processes))
    assert env_file.read_text() == "CREDITS_HTTP_TOKENS='[]'\n", "what was added for the service stays"


async def test_a_start_that_fails_says_why_and_leaves_no_process(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()

    with pytest.raises(StackError, match=r"Postgres ended \d+ times while it started\n.*postgresql.conf"):
        Stack(tmp_path)

    assert not [child for child in psutil.Process().children() if "credit_local_stack" in child.cmdline()]


@pytest.mark.parametrize("code", [0, 7])
def test_run_gives_a_command_the_addresses_and_passes_on_its_exit_code(code: int) -> None:
    script = f'echo "$CREDITS_DATABASE_URL $CREDITS_KAFKA_BOOTSTRAP_SERVERS"; exit {code}'
    done = subprocess.run(
        [COMMAND, "run", "--", "sh", "-c", script],
        env=environment(**GIVEN.environment()),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == code
    assert done.stdout == f"{GIVEN.database_url} {GIVEN.bootstrap_servers}\n"


@pytest.mark.parametrize(
    ("arguments", "variables", "reason"),
    [
        (["run", "true"], {"CREDITS_DATABASE_URL": "x"}, "CREDITS_KAFKA_BOOTSTRAP_SERVERS is not"),
        (["run", "true"], {"CREDITS_KAFKA_BOOTSTRAP_SERVERS": "x"}, "CREDITS_DATABASE_URL is not"),
        (["run", "true"], {"CREDITS_STACK": "podman"}, "CREDITS_STACK is 'podman'"),
        (["up", "--env-file", "/dev/null/env"], {}, "there is no folder /dev/null"),
        (["up", "--env-file", __file__], {}, "holds more than the two addresses"),
        (["up"], {}, "--env-file"),
        (["up", "--env-file", "e", "--data", "d"], GIVEN.environment(), "for the local stack only"),
        (["run", "--rebalance-delay-ms", "9", "true"], GIVEN.environment(), "for the local stack only"),
        (["run", "--rebalance-delay-ms", "-1", "true"], {}, "--rebalance-delay-ms"),
        (["run", "--rebalance-delay-ms", "60001", "true"], {}, "is no number from 0 to 60000"),
    ],
)
def test_what_is_asked_for_wrongly_is_told_in_a_line(
    arguments: list[str], variables: dict[str, str], reason: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [COMMAND, *arguments],
        env=environment(**variables),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert reason in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def ignore_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def test_started_to_ignore_ctrl_c_it_ends_with_sigterm_and_says_so(tmp_path: Path) -> None:
    env_file = tmp_path / "env"
    with subprocess.Popen(
        [COMMAND, "up", "--env-file", env_file],
        env=environment(**GIVEN.environment()),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=ignore_ctrl_c,
    ) as process:
        assert process.stderr
        assert any(line.endswith("SIGTERM ends them.\n") for line in process.stderr)
        process.send_signal(signal.SIGINT)
        process.terminate()
        assert process.wait(patience(60)) == 0
    assert list(tmp_path.iterdir()) == []

    program = "import signal; print(signal.getsignal(signal.SIGINT) == signal.SIG_IGN)"
    done = subprocess.run(
        [COMMAND, "run", "--", sys.executable, "-c", program],
        env=environment(**GIVEN.environment()),
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=ignore_ctrl_c,
    )
    assert done.stdout == "True\n"


def test_given_servers_are_used_as_they_are() -> None:
    with servers(lambda _: None, environ=GIVEN.environment()) as running:
        assert running.addresses == GIVEN
