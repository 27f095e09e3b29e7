"""The service on a broker that allows only listed operations."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from credit_contracts import Event, IncomingData, PlanChanged, ProspectGenerated
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.settings import Settings
from support.secured import SERVICE, SecuredBroker
from support.service import Deployment
from support.topics import make_topics
from support.traffic import event
from support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from credit_service.kafka.connect.acls import Acl
    from support.service import ServiceProcess

ACCOUNT = "acme"


@asynccontextmanager
async def secured_deployment(
    database_url: str, broker: SecuredBroker, prefix: str, folder: Path
) -> AsyncIterator[Deployment]:
    """A deployment whose topics are there; nobody may do anything with them yet."""
    async with Deployment(database_url, broker.for_anything, prefix, folder) as deployment:
        deployment.settings = broker.settings()
        await make_topics(broker.for_anything, prefix, partitions=1)
        yield deployment


def connection_of(broker: SecuredBroker, deployment: Deployment, user: str, password: str) -> KafkaConnection:
    known = {
        "database_url": deployment.database_url,
        "kafka_group_id": deployment.group,
        "topic_prefix": deployment.prefix,
    }
    return KafkaConnection.of(Settings.model_validate(known | broker.settings(user, password)))


async def says(service: ServiceProcess, told: str, *, within_seconds: float = 40) -> None:
    async def is_said() -> bool:
        return any(told in problem for problem in (await service.problems()).values())

    await eventually(is_said, within_seconds=within_seconds, what=told)


async def published(service: ServiceProcess, events: int) -> None:
    async def is_published() -> bool:
        return sum(int(line["events"]) for line in service.logged("published")) == events

    await eventually(is_published, within_seconds=40, what=f"{events} events published")


def plan() -> Event[IncomingData]:
    begun = datetime.now(UTC) - timedelta(hours=1)
    return event(PlanChanged(account_id=ACCOUNT, plan_id="pro", monthly_credits=100), begun)


def generated(number: int) -> Event[IncomingData]:
    return event(ProspectGenerated(account_id=ACCOUNT, prospect_id=f"p-{number}"), datetime.now(UTC))


async def each_is_told_and_taken_up_again(
    deployment: Deployment, broker: SecuredBroker, service: ServiceProcess, missing: Sequence[Acl]
) -> None:
    """Takes each right away and gives it back, while events come; each is decided and published, once."""
    async with deployment.upstream() as upstream:
        await upstream.send([plan()])
        await upstream.send_raw("email-bounced", b"not json")
        await published(service, 2)
        for number, right in enumerate(missing, start=1):
            await broker.refuse(SERVICE, [right])
            await upstream.send([generated(number)])
            await says(service, f"Kafka does not allow: {right.operation} {right.kind} {right.name}; see")
            await broker.allow(SERVICE, [right])
            await service.ready()
            await published(service, 2 + number)
    told = [line["problem"] for line in service.logged("not ready") if line["part"] == "access"]
    assert len(told) == len(missing), told
