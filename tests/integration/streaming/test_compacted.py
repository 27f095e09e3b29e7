"""An incoming topic that is compacted by mistake is reported until its setting is corrected."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from support.scraped import scraped
from support.topics import admin
from support.wait import eventually

if TYPE_CHECKING:
    from support.service import Deployment

LOOKS_OFTEN = "from credit_service.kafka.access import compacted_topics; compacted_topics.LOOK_EVERY_SECONDS = 0.3"


async def set_policy(deployment: Deployment, name: str, policy: str) -> None:
    async with admin(deployment.kafka) as client:
        topic = ConfigResource(ConfigResourceType.TOPIC, deployment.topic(name), {"cleanup.policy": policy})
        answers = await client.alter_configs([topic])
        assert [resource[0] for answer in answers for resource in answer.resources] == [0]


async def test_it_is_named_until_it_is_set_back(deployment: Deployment) -> None:
    await deployment.make_topics()
    service = await (await deployment.start(faults=LOOKS_OFTEN)).ready()
    name = deployment.topic("email-bounced")
    for policy in ("compact", "compact,delete"):
        await set_policy(deployment, "email-bounced", policy)

        async def is_named() -> bool:
            return (await service.degraded()).get("compacted", "").endswith(f": {name}")

        await eventually(is_named, what=f"it is named with {policy}")
        assert (await scraped(service)).value("degraded", part="compacted") == 1
        assert not await service.problems()
        await set_policy(deployment, "email-bounced", "delete")

        async def is_well() -> bool:
            return not await service.degraded()

        await eventually(is_well, what="no longer once it is set back")
    assert {line["topics"] for line in service.logged("incoming topics are compacted, messages may be missing")} == {
        name
    }
    assert await service.terminate() == 0
