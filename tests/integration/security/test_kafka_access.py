"""The service and the commands work with just the listed rights, and each missing right is reported."""

from __future__ import annotations

import asyncio
import json
import subprocess
from functools import partial
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from credit_service.kafka.access.probe import inspect, require
from credit_service.kafka.connect.acls import USES, Acl, Use, named, required_acls
from credit_service.kafka.connect.errors import RefusedByKafka
from support.credits import run_credits
from support.secured import OPS, OPS_PASSWORD, SERVICE, SERVICE_PASSWORD, SecuredBroker
from support.secured_service import (
    connection_of,
    each_is_told_and_taken_up_again,
    published,
    says,
    secured_deployment,
)
from support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from credit_service.kafka.connect.connection import KafkaConnection
    from support.service import Deployment, ServiceProcess

# One loop: aiokafka does not wait for the end of connections that were refused.
pytestmark = [pytest.mark.xdist_group("secured-kafka"), pytest.mark.asyncio(loop_scope="module")]

# After a refusal it waits for another's word that the right is there, which this test gives at once.
PUBLISHES_SOON = "from credit_service.kafka.publish import relay; relay.DENIED_RETRY_SECONDS = 0.5"

COMMANDS: tuple[tuple[Use, str, str], ...] = (
    ("topics-create", "topics create", "describe"),
    ("trigger", "trigger prospect-generated acme --prospect p-9", "write"),
    ("tail", "tail --from-beginning --max 1", "read"),
    ("replay", "replay --reason why --yes", "read"),
    ("doctor", "doctor --output json", "describe"),
    ("reconcile", "reconcile", "read"),
)


@pytest_asyncio.fixture(loop_scope="module")
async def secured(
    database_url: str, secured_broker: SecuredBroker, topic_prefix: str, tmp_path: Path
) -> AsyncIterator[Deployment]:
    async with secured_deployment(database_url, secured_broker, topic_prefix, tmp_path) as deployment:
        yield deployment


async def test_of_all_rights_each_that_is_missing_is_named_alone(
    secured: Deployment, secured_broker: SecuredBroker
) -> None:
    ops = connection_of(secured_broker, secured, OPS, OPS_PASSWORD)
    for use in USES:
        needed = [right for right in required_acls(ops, use) if right.operation != "create"]
        await secured_broker.allow(OPS, needed)
        await eventually(partial(_has_all, ops, needed), what=f"{use} allowed")
        for right in {(r.kind, r.operation): r for r in needed}.values():
            await secured_broker.refuse(OPS, [right])
            # Of a topic that may not even be described, nothing else may be done either.
            gone = [r for r in needed if r == right or (right.operation == "describe" and r[:2] == right[:2])]
            told = f"Kafka does not allow: {named(gone)}; see `credits topics acls`"
            await eventually(partial(_is_told, ops, needed, told), what=told)
            await secured_broker.allow(OPS, [right])
        await secured_broker.refuse(OPS, needed)


async def _has_all(connection: KafkaConnection, needed: list[Acl]) -> bool:
    return not (await inspect(connection, needed)).refused


async def _has_none(connection: KafkaConnection, needed: list[Acl]) -> bool:
    return len((await inspect(connection, needed)).refused) == len(needed)


async def _is_told(connection: KafkaConnection, needed: list[Acl], told: str) -> bool:
    try:
        await require(connection, needed)
    except RefusedByKafka as error:
        return str(error) == told
    return False


@pytest.mark.slow
async def test_the_service_runs_with_what_is_listed_and_tells_what_is_not_allowed(
    secured: Deployment, secured_broker: SecuredBroker
) -> None:
    connection = connection_of(secured_broker, secured, SERVICE, SERVICE_PASSWORD)
    service = await secured.start(kill_at="before-cleanup:1")
    await says(service, "Kafka does not allow: read topic ")
    await secured_broker.allow(SERVICE, required_acls(connection, "serve"))
    await service.ready()
    async with secured.upstream() as upstream:
        await upstream.send_raw("plan-changed", b"not json")
    assert await service.ended() != 0
    await secured.forget_members()
    service = await (await secured.start(faults=PUBLISHES_SOON)).ready()
    await eventually(lambda: service.logged("claim left over, it was published"), what="the claim is asked for")
    # One of each way in which it shows: at a poll, by the heart that stops, when sending, and by a sender that dies.
    missing = [
        Acl("topic", secured.topic("prospect-generated"), "read"),
        Acl("group", secured.group, "read"),
        Acl("topic", secured.topic("balance-changed"), "write"),
        Acl("topic", connection.cursor_topic, "read"),
    ]
    await each_is_told_and_taken_up_again(secured, secured_broker, service, missing)
    await commands_run_with_their_rights_alone(secured, secured_broker, service)
    assert await service.terminate() == 0


async def commands_run_with_their_rights_alone(
    secured: Deployment, broker: SecuredBroker, service: ServiceProcess
) -> None:
    as_ops = broker.settings(OPS, OPS_PASSWORD) | {
        "database_url": secured.database_url,
        "kafka_group_id": secured.group,
        "topic_prefix": secured.prefix,
    }

    async def run(command: str) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(run_credits, *command.split(), folder=secured.folder, **as_ops)

    ops = connection_of(broker, secured, OPS, OPS_PASSWORD)
    for use, command, told in COMMANDS:
        refused = await run(command)
        assert refused.returncode == 1, refused
        said = refused.stderr if use != "doctor" else refused.stdout
        assert f"Kafka does not allow: {told} topic {secured.prefix}" in said, refused
        assert "Traceback" not in refused.stderr
        listed = json.loads((await run(f"topics acls --principal User:{OPS} --for {use} --output json")).stdout)
        needed = [Acl(one["kind"], one["name"], one["operation"]) for one in listed]
        await broker.allow(OPS, needed)
        await eventually(partial(_has_all, ops, needed), what=f"{use} allowed")
        done = await run(command)
        if use == "doctor":
            # What is wrong then is that the topics are not as the contracts say.
            states = {check["name"]: check["state"] for check in json.loads(done.stdout)["checks"]}
            names = ("kafka", "access", "members", "offsets", "lag")
            assert [states[name] for name in names] == ["ok", "warning", "ok", "ok", "ok"], done
        elif use == "reconcile":
            assert done.stdout.endswith("6 published events.\n       2  dead-letter-waiting\n"), done
        else:
            assert done.returncode == 0, done
        if use == "trigger":
            await published(service, 7)
        await broker.refuse(OPS, needed)
        await eventually(partial(_has_none, ops, needed), what=f"{use} refused")
