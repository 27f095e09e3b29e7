"""When access is checked, and what follows if no broker answers."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from io import BytesIO
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import pytest

from credit_service.application.errors import LedgerUnavailable
from credit_service.application.readiness import Status
from credit_service.kafka.access.monitor import AccessWatch
from credit_service.kafka.access.probe import UNREPORTED, AccessReport, _topics, inspect
from credit_service.kafka.access.requests import NO_ID, TopicsRequest, TopicsWithIdsResponse
from credit_service.kafka.connect.acls import on_topics
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.connect.errors import BrokerUnavailable, RefusedByKafka
from credit_service.kafka.publish.relay import Relay
from support.patience import patience
from support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CONNECTION = KafkaConnection("127.0.0.1:1", "group")


async def test_whether_a_broker_answered_is_as_last_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[AccessReport | Exception] = [
        BrokerUnavailable("gone"),
        RefusedByKafka("the login"),
        BrokerUnavailable("gone"),
        AccessReport(),
        BrokerUnavailable("gone"),
        AccessReport(uncoordinated=["group"]),
    ]

    async def asked(*_: object) -> AccessReport:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("credit_service.kafka.access.monitor.inspect", asked)
    watch = AccessWatch(CONNECTION, Status({}))
    seen = []
    for _ in range(6):
        await watch.ask()
        seen.append((watch.is_answered, watch.reading, watch.is_coordinated))
    assert seen == [
        (False, False, False),
        (True, True, False),
        (False, True, False),
        (True, False, True),
        (False, False, False),
        (True, False, False),
    ]


async def test_a_topic_with_a_partition_that_nobody_leads_is_seen() -> None:
    class Broker:
        """Answers like Kafka: error, number and leader of each partition, and the other fields."""

        async def send(self, _: object) -> SimpleNamespace:
            led, leaderless = (0, 0, 1, 5), (5, 1, -1, 5)
            topics = [
                (0, "led", False, [led], UNREPORTED),
                (0, "half", False, [led, leaderless], UNREPORTED),
            ]
            return SimpleNamespace(topics=topics)

    seen = await _topics(Broker(), on_topics(["led", "half"], "describe"))
    assert (seen.partitions, seen.leaderless, seen.refused) == ({"led": 1, "half": 2}, ["half"], [])


async def test_ids_of_topics_are_seen_where_the_broker_knows_them() -> None:
    known = UUID(int=7)

    class Broker:
        """Answers like a broker since Kafka 2.8, in the version of the request."""

        async def send(self, request: TopicsRequest) -> SimpleNamespace:
            sent = request.prepare({TopicsRequest.API_KEY: (0, 13)})
            assert BytesIO(sent.encode()).read(1)
            rows: list[tuple[Any, ...]] = [
                (0, "there", known, False, [(0, 0, 1, 5, [1], [1], [], {})], UNREPORTED, {}),
                (0, "hidden", NO_ID, False, [], UNREPORTED, {}),
                (3, "gone", NO_ID, False, [], UNREPORTED, {}),
            ]
            encoded = TopicsWithIdsResponse(0, [], "cluster", 1, rows, UNREPORTED, {}).encode()
            return cast("SimpleNamespace", TopicsWithIdsResponse.decode(encoded))

    seen = await _topics(Broker(), on_topics(["there", "hidden", "gone"], "describe"))
    assert (seen.topic_ids, seen.partitions) == ({"there": known}, {"there": 1, "hidden": 0})
    # An older broker gets the request without ids, as the stand-in above.
    assert TopicsRequest(["there"]).prepare({TopicsRequest.API_KEY: (0, 9)}).API_VERSION == 8


async def test_a_server_that_is_silent_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("credit_service.kafka.access.probe.ONE_OF_SEVERAL_SECONDS_MAX", 1)
    # The kernel accepts their connections, and no process answers.
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        servers = ",".join(f"127.0.0.1:{silent.getsockname()[1]}" for silent in (first, second))
        with pytest.raises(BrokerUnavailable):
            await inspect(KafkaConnection(servers, "group"), [])
        for silent in (first, second):
            silent.settimeout(patience(1))
            silent.accept()[0].close()


@pytest.mark.parametrize(
    ("fault", "is_kafkas"), [(LedgerUnavailable("gone"), False), (BrokerUnavailable("gone"), True)]
)
async def test_while_the_ledger_is_away_the_relay_does_not_suspect_kafka(
    fault: Exception, is_kafkas: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("credit_service.kafka.publish.relay.RETRY_SECONDS", 0.01)
    suspicions = []

    class Outbox:
        @asynccontextmanager
        async def lead(self, _: object) -> AsyncIterator[None]:
            raise fault
            yield

    watch = AccessWatch(CONNECTION, Status({}))
    monkeypatch.setattr(watch, "suspect", lambda: suspicions.append(True))
    relay = Relay(CONNECTION, cast("Any", Outbox()), watch)
    running = asyncio.create_task(relay.run())
    await eventually(lambda: relay.restarts > 2)
    running.cancel()
    assert bool(suspicions) == is_kafkas
