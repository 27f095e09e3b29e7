"""`credits doctor`: what is well is told so; what is broken by hand is named, and nothing else."""

from __future__ import annotations

import json
import signal
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from credit_contracts import PlanChanged, ProspectGenerated
from credit_contracts.topics import INCOMING_TOPICS, TOPICS
from credit_service import bounds
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.topics import create_topics
from support.clock import Clock
from support.credits import run_credits
from support.examined import doctor
from support.filled import copy_of, filled_deployment
from support.replays import settings_of, start_replay
from support.service import Deployment
from support.stack import fresh_database
from support.topics import add_partitions, admin, delete_records, remove_topics
from support.traffic import event
from support.wait import eventually
from support.worked_off import work_off

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from credit_local_stack import Addresses

BEGAN = datetime.now(UTC) - timedelta(hours=1)
NAMES = (
    "settings tokens logins database durability schema clock kafka topics topic-settings replication access members "
    "transactions lag offsets held paused gaps outbox set-aside claim parked openings timers accounts dead-letters "
    "refund-requests operations"
).split()


async def fill(deployment: Deployment) -> None:
    """Topics as the contracts say, and an account; no service runs."""
    await create_topics(KafkaConnection(deployment.kafka, deployment.group, deployment.prefix), None)
    async with deployment.upstream() as upstream:
        plan = event(PlanChanged(account_id="acme", plan_id="p", monthly_credits=10), BEGAN)
        await upstream.send([plan, event(ProspectGenerated(account_id="acme", prospect_id="p"), BEGAN)])
    await work_off(deployment)


@pytest.fixture(scope="module")
def filled(stack: Addresses, database_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with filled_deployment(stack, database_template, tmp_path_factory.mktemp("filled"), fill) as filled:
        yield filled


@pytest.fixture
def played(filled: Deployment, stack: Addresses, tmp_path: Path) -> Iterator[Deployment]:
    """What `fill` makes; nothing may be sent to its topics, or changed of them."""
    with copy_of(filled, stack, tmp_path) as deployment:
        yield deployment


@asynccontextmanager
async def member_of(deployment: Deployment) -> AsyncIterator[Any]:
    """Stands in for a service, and leaves everything as it is."""
    member = AIOKafkaConsumer(
        *(deployment.topic(name) for name in INCOMING_TOPICS),
        bootstrap_servers=deployment.kafka,
        client_id=deployment.group,
        group_id=deployment.group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        session_timeout_ms=60_000,
    )
    try:
        await member.start()
        await eventually(member.assignment)
        yield member
    finally:
        await member.stop()


@pytest.fixture
async def well(played: Deployment) -> AsyncIterator[Deployment]:
    """A deployment in which all is well until something is broken in its database; its topics are those of others."""
    async with member_of(played):
        yield played


@pytest.fixture
async def member(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """Of a deployment with topics of its own, of one partition each."""
    of_one_partition = [replace(contract, partitions=1) for contract in TOPICS]
    monkeypatch.setattr("credit_service.kafka.topics.TOPICS", of_one_partition)
    await fill(deployment)
    async with member_of(deployment) as member:
        yield member


@pytest.fixture
def own(deployment: Deployment, member: Any) -> Deployment:  # noqa: ARG001 - is in the group
    """As `well`, and its topics may be sent to, and changed."""
    return deployment


@pytest.fixture
async def connection(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """To the database of the test's deployment."""
    name = "played" if "played" in request.fixturenames else "deployment"
    connection = await asyncpg.connect(request.getfixturevalue(name).database_url)
    # So that what was broken can be mended: some rows are kept for good.
    await connection.execute("SET session_replication_role = replica; SET search_path = credits")
    yield connection
    await connection.close()


async def test_a_running_deployment_is_well(played: Deployment) -> None:
    service = await (await played.start()).ready()
    examined = await doctor(played)
    assert (examined.exit_code, examined.state, examined.unwell, examined.said) == (0, "ok", {}, "")
    assert list(examined.checks) == NAMES
    assert examined.told("settings") == f"read; group {played.group}, topics begin with {played.prefix}"
    assert examined.told("durability") == "fsync on, synchronous_commit on"
    assert examined.told("kafka") == "1 broker"
    assert examined.told("topics") == "all 13 are there, the incoming ones with 12 partitions"
    assert examined.told("members") == f"1 in group {played.group}"
    assert examined.told("lag") == "waiting to be decided: nothing"
    assert examined.told("offsets") == "108 stored, all within their logs"
    done = run_credits("doctor", folder=played.folder, **settings_of(played))
    assert (done.returncode, done.stderr) == (0, "")
    assert "│ ok    │ durability      │ fsync on, synchronous_commit on" in done.stdout
    assert await service.terminate() == 0


LETTER = """INSERT INTO dead_letters
(topic, partition, "offset", digest, reason, detail, headers, timestamp_ms, created_at)
VALUES ('t', 0, {}, decode(md5('d'), 'hex'), '{}', 'd', '[]', 0, now())"""

ROWS = [
    (
        "paused",
        "wrong",
        "INSERT INTO paused_topics VALUES ('{prefix}email-bounced', now(), 'for a test')",
        "DELETE FROM paused_topics",
        "email-bounced (for a test)",
    ),
    (
        "dead-letters",
        "warning",
        "; ".join([LETTER.format(1, "conflict"), LETTER.format(2, "not-json"), LETTER.format(3, "not-json")]),
        "DELETE FROM dead_letters",
        "waiting: 2 not-json, 1 conflict",
    ),
    (
        "outbox",
        "warning",
        (
            "INSERT INTO outbox (topic, key, event_id, event_time, payload) "
            "VALUES ('balance-changed', 'a', 'a:1', now() - interval '3 min', '{{}}')"
        ),
        "DELETE FROM outbox",
        "1 to be published, the oldest for 3 min",
    ),
    (
        "outbox",
        "wrong",
        (
            "INSERT INTO outbox (topic, key, event_id, event_time, payload) "
            "SELECT 'balance-changed', 'a', 'a:' || n, now() - n * interval '1 h', '{{}}' "
            "FROM generate_series(1, 3) AS n"
        ),
        "DELETE FROM outbox",
        "3 to be published, the oldest for 3 h",
    ),
    (
        "set-aside",
        "wrong",
        (
            "INSERT INTO outbox_set_aside (outbox_id, topic, key, event_id, event_time, payload, cause, set_aside_at) "
            "SELECT n, 'balance-changed', 'a', 'a:' || n, now(), '{{}}', CASE n WHEN 7 THEN 'PolicyViolationError' END"
            ", now() - interval '3 h' FROM generate_series(7, 9) AS n"
        ),
        "DELETE FROM outbox_set_aside",
        "7 of balance-changed for 3 h (PolicyViolationError) with 2 behind",
    ),
    (
        "claim",
        "warning",
        (
            "INSERT INTO outbox_claim (claim_id, outbox_ids, claimed_at) "
            "VALUES (gen_random_uuid(), '{{1}}', now() - interval '5 min')"
        ),
        "DELETE FROM outbox_claim",
        "a publishing began 5 min ago, and did not end",
    ),
    (
        "parked",
        "warning",
        """INSERT INTO parked_events (account_no, key, content, source, id, type, occurred_at, type_rank, data,
            partition, "offset", parked_at)
        VALUES (1, decode(md5('k'), 'hex'), decode(md5('c'), 'hex'), '/s', 'i', 'prospect-generated', now(), 3, '{{}}',
            0, 0, now() - interval '5 h');
        UPDATE accounts SET parked = 1""",
        "DELETE FROM parked_events; UPDATE accounts SET parked = 0",
        "1 events of 1 accounts wait for their first plan, the oldest for 5 h",
    ),
    (
        "timers",
        "warning",
        "UPDATE accounts SET next_timer_at = next_timer_at - interval '2 months'",
        "UPDATE accounts SET next_timer_at = next_timer_at + interval '2 months'",
        "1 accounts have a timer that is due, the oldest for ",
    ),
    (
        "accounts",
        "warning",
        """UPDATE accounts SET last_grant_id = last_grant_id + 1945110119;
        INSERT INTO accounts_filling (account_no, noted_at) VALUES (1, now())""",
        "DELETE FROM accounts_filling; UPDATE accounts SET last_grant_id = last_grant_id - 1945110119",
        "1 have used 80 % of their numbers: acme 91 %",
    ),
    (
        "gaps",
        "warning",
        (
            "INSERT INTO offset_gaps (topic, partition, expected_offset, resumed_offset, log_end_offset, noticed_at) "
            "VALUES ('{prefix}email-bounced', 4, 10, 17, 20, now() - interval '3 h')"
        ),
        "DELETE FROM offset_gaps",
        "{prefix}email-bounced/4 from 10 to 17, 3 h ago",
    ),
    (
        "openings",
        "warning",
        "UPDATE accounts SET opening_since = now() - interval '3 h'",
        "UPDATE accounts SET opening_since = NULL",
        "the rows are not complete of acme (for 3 h); their events wait",
    ),
    (
        "operations",
        "warning",
        (
            "INSERT INTO operations (started_at, kind, operator, reason, arguments) "
            "VALUES (now() - interval '3 h', 'replay', 'lee', 'a test', '{{}}')"
        ),
        "DELETE FROM operations",
        "of lee, begun 3 h ago",
    ),
    (
        "offsets",
        "wrong",
        (
            "UPDATE partition_offsets SET next_offset = next_offset + 1000 "
            "WHERE topic = '{prefix}email-bounced' AND partition = 4"
        ),
        "UPDATE partition_offsets SET next_offset = 0 WHERE topic = '{prefix}email-bounced' AND partition = 4",
        "stored offsets are not there: {prefix}email-bounced/4 goes on at 1000, and ends at 0",
    ),
]
"""What is unwell, how much, what breaks it, what mends it, and what is told."""


async def test_what_is_broken_in_the_database_is_named_and_nothing_else(well: Deployment, connection: Any) -> None:
    assert (await doctor(well)).unwell == {}
    for name, state, broken, mended, told in ROWS:
        await connection.execute(broken.format(prefix=well.prefix))
        examined = await doctor(well)
        assert (examined.unwell, examined.state) == ({name: state}, state)
        assert told.format(prefix=well.prefix) in examined.told(name)
        assert examined.exit_code == (1 if state == "wrong" else 0)
        await connection.execute(mended.format(prefix=well.prefix))
    assert (await doctor(well)).unwell == {}


FINE = """
INSERT INTO refund_requests (account_no, charge_sequence, prospect_id, position, requested_at)
VALUES (1, 2, 'p', 1, now() - interval '9 days');
INSERT INTO offset_gaps (topic, partition, expected_offset, resumed_offset, log_end_offset, noticed_at)
VALUES ('t', 4, 10, 17, 20, now() - interval '31 days');
INSERT INTO operations (started_at, kind, operator, reason, arguments)
VALUES (now() - interval '31 days', 'replay', 'lee', 'r', '{}'), (now() - interval '5 min', 'replay', 'lee', 'r', '{}');
INSERT INTO operations (started_at, kind, operator, reason, arguments, ended_at, ended_as, result)
VALUES (now() - interval '3 h', 'replay', 'lee', 'r', '{}', now(), 'done', '{}');
INSERT INTO dead_letters (topic, partition, "offset", digest, reason, detail, headers, timestamp_ms, created_at, status,
    ended_at, operator)
VALUES ('t', 0, 1, decode(md5('d'), 'hex'), 'r', 'd', '[]', 0, now(), 'discarded', now(), 'lee');
INSERT INTO outbox (topic, key, event_id, event_time, payload) VALUES ('balance-changed', 'a', 'a:1', now(), '{}');
INSERT INTO outbox_claim (claim_id, outbox_ids, claimed_at) VALUES (gen_random_uuid(), '{1}', now());
UPDATE accounts SET next_timer_at = now() - interval '1 min';
"""


async def test_what_is_in_hand_or_long_ago_is_well(well: Deployment, connection: Any) -> None:
    await connection.execute(FINE)
    examined = await doctor(well)
    assert (examined.unwell, examined.exit_code) == ({}, 0)
    assert examined.told("refund-requests") == "1 wait, the oldest for 9 days"
    assert examined.told("outbox").startswith("1 to be published, the oldest for ")
    assert examined.told("claim") == "a publishing is under way"


async def test_much_is_counted_up_to_a_bound(well: Deployment, connection: Any) -> None:
    await connection.execute(
        "INSERT INTO outbox (topic, key, event_id, event_time, payload) SELECT 'balance-changed', 'a', n::text, now(), "
        f"'{{}}' FROM generate_series(1, {bounds.COUNTED_MAX + 5}) AS n"
    )
    assert (await doctor(well)).told("outbox").startswith("100,000 or more to be published, ")


# --- Kafka


TOPICS_OWN = 1
"""Where a setting is from, in Kafka's protocol: of the topic itself, and no default."""


async def configure(deployment: Deployment, topic: str, **settings: str) -> None:
    """Sets these, and all others of the topic back to the broker's, but whose timestamps its messages have."""
    name = deployment.topic(topic)
    as_made = {"message.timestamp.type": "LogAppendTime"} if topic in INCOMING_TOPICS else {}
    dotted = as_made | {key.replace("_", "."): value for key, value in settings.items()}
    async with admin(deployment.kafka) as client:
        answers = await client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, dotted)])
        assert [resource[0] for answer in answers for resource in answer.resources] == [0]

        async def is_in_force() -> bool:
            (described,) = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
            (_, _, _, _, entries) = described.resources[0]
            return {key: value for key, value, _, source, *_ in entries if source == TOPICS_OWN} == dotted

        # The broker answers before it has heard of it from its controller.
        await eventually(is_in_force)


DAYS_30 = str(30 * 86_400_000)
SETTINGS = [
    ("email-bounced", {"retention_ms": "86400000"}, "topic-settings", "wrong", " keeps messages for 1 of 30 days"),
    (
        "email-bounced",
        {"retention_ms": DAYS_30, "cleanup_policy": "compact"},
        "topic-settings",
        "wrong",
        " is compacted",
    ),
    (
        "email-bounced",
        {"retention_ms": DAYS_30, "max_message_bytes": "1000"},
        "topic-settings",
        "wrong",
        " takes 1,000 of 1,048,588 bytes",
    ),
    ("balance-changed", {"retention_ms": "86400000"}, "topic-settings", "warning", " keeps messages for 1 of 30 days"),
    (
        "balance-changed",
        {"retention_ms": DAYS_30, "min_insync_replicas": "2"},
        "replication",
        "wrong",
        " has 1 and needs 2 to be written",
    ),
    ("email-bounced", {"retention_ms": "-1"}, None, "ok", ""),
    (
        "email-bounced",
        {"message_timestamp_type": "CreateTime"},
        "topic-settings",
        "warning",
        " has its producers' timestamps and should have LogAppendTime",
    ),
]


async def test_a_topic_that_is_set_otherwise_is_named_and_nothing_else(own: Deployment) -> None:
    assert (await doctor(own)).unwell == {}
    for topic, settings, name, state, told in SETTINGS:
        await configure(own, topic, **settings)
        examined = await doctor(own)
        assert examined.unwell == ({name: state} if name else {})
        assert name is None or examined.told(name) == own.topic(topic) + told
        await configure(own, topic, retention_ms=DAYS_30)


async def test_unequal_partitions(own: Deployment) -> None:
    bounced = own.topic("email-bounced")
    await add_partitions(own.kafka, [bounced], 2)
    examined = await doctor(own)
    assert examined.unwell == {"topics": "wrong"}
    assert examined.told("topics") == f"incoming topics have 1 partitions, but {bounced} 2"


async def test_a_cursor_of_two_partitions(own: Deployment) -> None:
    cursor = own.topic("credit-service-relay-cursor")
    await add_partitions(own.kafka, [cursor], 2)
    examined = await doctor(own)
    assert examined.unwell == {"topics": "wrong"}
    assert examined.told("topics") == f"{cursor} has 2 partitions and must have 1"


async def test_topics_that_are_missing(own: Deployment) -> None:
    gone = [own.topic(name) for name in ("email-bounced", "insufficient-credits")]
    await remove_topics(own.kafka, gone)

    async def is_seen() -> bool:
        examined = await doctor(own)
        return (examined.unwell, examined.told("topics")) == ({"topics": "wrong"}, f"missing: {', '.join(gone)}")

    await eventually(is_seen)


async def test_nobody_serves(played: Deployment) -> None:
    examined = await doctor(played)
    assert (examined.exit_code, examined.unwell) == (1, {"members": "wrong"})
    assert examined.told("members") == f"group {played.group} has no members: no service runs"
    assert examined.checks["members"]["what_to_do"] == "start `credits serve`"


async def test_lag_is_told_without_what_is_paused(own: Deployment, connection: Any) -> None:
    async with own.upstream() as upstream:
        await upstream.send([event(PlanChanged(account_id="bolt", plan_id="p", monthly_credits=1), BEGAN)])
        for _ in range(2):
            await upstream.send_raw("email-bounced", b"{")
    assert (await doctor(own)).told("lag") == (
        f"waiting to be decided: {own.topic('email-bounced')} 2, {own.topic('plan-changed')} 1"
    )
    await connection.execute(f"INSERT INTO paused_topics VALUES ('{own.topic('email-bounced')}', now(), 'r')")
    examined = await doctor(own)
    assert examined.told("lag") == f"waiting to be decided: {own.topic('plan-changed')} 1"
    assert examined.unwell == {"paused": "wrong"}


async def test_messages_that_retention_removed_before_they_were_read(own: Deployment) -> None:
    async with own.upstream() as upstream:
        for _ in range(3):
            topic, partition, offset = await upstream.send_raw("email-bounced", b"{")
    await delete_records(own.kafka, {(topic, partition): offset})
    examined = await doctor(own)
    assert (examined.exit_code, examined.unwell) == (1, {"offsets": "wrong"})
    told = f"retention was faster than the service: {topic}/{partition} goes on at 0, and begins at 2"
    assert examined.told("offsets") == told


async def test_offsets_in_kafka_that_are_ahead(own: Deployment, member: Any) -> None:
    async with own.upstream() as upstream:
        (sent,) = await upstream.send([event(PlanChanged(account_id="bolt", plan_id="p", monthly_credits=1), BEGAN)])
    await member.commit({TopicPartition(sent.topic, sent.partition): sent.offset + 1})
    examined = await doctor(own)
    assert (examined.exit_code, examined.unwell) == (0, {"offsets": "warning"})
    told = f"{sent.topic}/{sent.partition} {sent.offset + 1} instead of {sent.offset}"
    assert examined.told("offsets") == f"Kafka's offsets are ahead of the stored ones: {told}"


# --- servers


async def test_kafka_is_away(played: Deployment) -> None:
    examined = await doctor(played, kafka_bootstrap_servers="127.0.0.1:1")
    assert (examined.exit_code, examined.unwell) == (1, {"kafka": "wrong"})
    assert examined.told("kafka").startswith("no answer: ")
    of_kafka = {
        "topics",
        "topic-settings",
        "replication",
        "access",
        "members",
        "transactions",
        "lag",
        "offsets",
        "held",
    }
    assert set(NAMES) - set(examined.checks) == set(of_kafka)


async def test_the_database_is_away(well: Deployment) -> None:
    examined = await doctor(well, database_url="postgresql://x:hunter2@127.0.0.1:1/x")
    assert (examined.exit_code, examined.unwell) == (1, {"database": "wrong"})
    assert (
        list(examined.checks)
        == "settings tokens logins database kafka topics topic-settings replication access members transactions".split()
    )
    assert "hunter2" not in json.dumps(examined.checks)


async def test_an_address_that_does_not_let_the_service_in_is_named_by_its_setting(well: Deployment) -> None:
    at = urlsplit(well.database_url)
    wrong = at._replace(netloc=f"{at.username}:hunter2@{at.hostname}:{at.port}").geturl()
    examined = await doctor(well, database_url=wrong, read_database_url=well.database_url)
    assert (examined.exit_code, examined.unwell) == (1, {"logins": "wrong"})
    assert examined.told("logins") == "CREDITS_DATABASE_URL: the password is wrong, SQLSTATE 28P01"
    relay = "postgresql://x:hunter2@127.0.0.1:1/x"
    examined = await doctor(well, relay_database_url=relay)
    assert examined.unwell == {"logins": "wrong"}
    assert examined.told("logins").startswith("CREDITS_RELAY_DATABASE_URL: ")
    assert "hunter2" not in json.dumps(examined.checks)


async def test_both_are_away(tmp_path: Path) -> None:
    examined = await doctor(Deployment("postgresql://127.0.0.1:1/x", "127.0.0.1:1", "t-", tmp_path))
    assert (examined.exit_code, examined.unwell) == (1, {"database": "wrong", "kafka": "wrong"})


async def test_a_database_that_is_not_migrated(well: Deployment, stack: Addresses) -> None:
    with fresh_database(stack.database_url, "template1") as url:
        examined = await doctor(well, database_url=url)
    assert (examined.exit_code, examined.unwell) == (1, {"schema": "wrong"})
    assert examined.told("schema") == "database is not migrated: run `credits migrate`"


async def test_a_database_that_may_lose_commits(well: Deployment, connection: Any) -> None:
    (name,) = await connection.fetchrow("SELECT current_database()")
    await connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    examined = await doctor(well)
    assert (examined.exit_code, examined.unwell) == (1, {"durability": "wrong"})
    assert examined.told("durability") == "synchronous_commit is off: commits may be lost in a power cut"


@pytest.mark.parametrize(
    ("ahead", "state", "told"),
    [(timedelta(minutes=3), "wrong", "behind"), (timedelta(seconds=-30), "warning", "ahead of")],
)
async def test_a_clock_that_is_off(well: Deployment, ahead: timedelta, state: str, told: str) -> None:
    async with Clock.replacing(well.database_url, datetime.now(UTC) + ahead):
        examined = await doctor(well)
    assert examined.unwell == {"clock": state}
    assert f" s {told} the ledger's clock" in examined.told("clock")


async def test_settings_that_are_missing_are_wrong_use(tmp_path: Path) -> None:
    done = run_credits("doctor", folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "CREDITS_DATABASE_URL is not set" in done.stderr


async def test_nothing_is_written(well: Deployment, connection: Any) -> None:
    async def is_alone() -> bool:
        others = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        return not await connection.fetch(others)

    async def written() -> int:
        # A session is counted at its end.
        await eventually(is_alone)
        changes = "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables"
        return int(await connection.fetchval(changes))

    before = await written()
    async with admin(well.kafka) as client:
        groups = [name for name, _ in await client.list_consumer_groups() if well.prefix in name]
        committed = await client.list_consumer_group_offsets(well.group)
    assert (await doctor(well)).unwell == {}
    assert await written() == before
    async with admin(well.kafka) as client:
        assert sorted(n for n, _ in await client.list_consumer_groups() if well.prefix in n) == sorted(groups)
        assert await client.list_consumer_group_offsets(well.group) == committed


async def test_a_replay_that_was_killed_is_told_after_a_while(well: Deployment, connection: Any) -> None:
    async with connection.transaction():
        # So that it does not come to its end before it is killed.
        await connection.execute("LOCK TABLE decisions IN ACCESS EXCLUSIVE MODE")
        process = start_replay(well)
        begun = "SELECT count(*) FROM operations"
        await eventually(lambda: connection.fetchval(begun))
        process.send_signal(signal.SIGKILL)
        assert await process.wait() == -signal.SIGKILL
    assert (await doctor(well)).unwell == {}
    await connection.execute("UPDATE operations SET started_at = started_at - interval '2 h'")
    assert (await doctor(well)).told("operations") == "never ended: replay 1 of lee, begun 2 h ago"
