"""A broker whose settings do not allow the service's short sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from credit_local_stack import Stack
from support.service import Deployment
from support.stack import in_memory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("session-timeout"),
    pytest.mark.timeout(400),
    pytest.mark.local_stack,
]


@pytest.fixture
def kafka() -> Iterator[Stack]:
    longer = {"group.min.session.timeout.ms": "10000"}
    with Stack(scratch=in_memory(), kafka_heap_mib=256, kafka_settings=longer, with_postgres=False) as stack:
        yield stack


async def test_where_brokers_want_longer_sessions_the_group_is_joined_with_one(
    database_url: str, kafka: Stack, topic_prefix: str, tmp_path: Path
) -> None:
    async with Deployment(database_url, kafka.bootstrap_servers, topic_prefix, tmp_path) as deployment:
        await deployment.make_topics(partitions=1)
        service = await (await deployment.start()).ready()
        (line,) = service.logged("brokers refuse a session this short, joining with a longer one")
        assert "group.min.session.timeout.ms" in line["cause"]
        assert await service.terminate() == 0
