"""What brokers without transactions say, and what is made of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import errors

from credit_service.application.readiness import Status
from credit_service.kafka.access import probe as access
from credit_service.kafka.access.monitor import AccessWatch
from credit_service.kafka.access.probe import Seen
from credit_service.kafka.access.transactions import no_producer, unknown_to
from credit_service.kafka.connect.acls import Acl
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.publish.relay import Relay

CONNECTION = KafkaConnection("127.0.0.1:1", "group")
OURS = Acl("transactional-id", "group-relay", "write")


def test_a_broker_that_knows_all_that_is_needed_lacks_nothing() -> None:
    assert unknown_to({22, 25, 26, 28}, "Kafka") is None
    assert unknown_to({22, 26, 28}, "Kafka at h:1") == (
        "Kafka at h:1 has no transactions, in which this service publishes: it does not know AddOffsetsToTxn"
    )


@pytest.mark.parametrize(
    ("error", "lacks"),
    [
        (errors.CoordinatorNotAvailableError, False),
        (errors.CoordinatorLoadInProgressError, False),
        (errors.NotCoordinatorError, False),
        (errors.UnknownError, False),
        (errors.RequestTimedOutError, False),
        (errors.LeaderNotAvailableError, False),
        (errors.BrokerNotAvailableError, False),
        (errors.InvalidRequestError, True),
        (errors.UnsupportedVersionError, True),
    ],
)
async def test_one_that_has_no_coordinator_for_good_has_none(error: Any, lacks: bool) -> None:
    class Broker:
        host, port = "h", 1

        async def send(self, _: object) -> SimpleNamespace:
            return SimpleNamespace(error_code=error.errno)

    seen = Seen()
    await access._ask_coordinator(CONNECTION, Broker(), OURS, seen)
    assert (seen.lacking is not None) == lacks
    assert (seen.uncoordinated == ["group-relay"]) == (not lacks)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (errors.InvalidRequestError(), "asked for a producer, it says InvalidRequestError"),
        (errors.UnsupportedVersionError(), "asked for a producer, it says UnsupportedVersionError"),
        (errors.IncompatibleBrokerVersion(), "asked for a producer, it says IncompatibleBrokerVersion"),
        (errors.InvalidTransactionTimeout(), "Kafka's transaction.max.timeout.ms is shorter than"),
    ],
)
async def test_a_producer_that_is_refused_for_good_is_told_by_the_relay(
    monkeypatch: pytest.MonkeyPatch, error: errors.KafkaError, told: str
) -> None:
    class Producer:
        async def start(self) -> None:
            raise error

        async def stop(self) -> None: ...

    class Lock:
        async def __aenter__(self) -> object:
            return object()

        async def __aexit__(self, *_: object) -> None: ...

    said: list[str | None] = []

    def tell(problem: str | None) -> None:
        said.append(problem)
        relay.stop()

    monkeypatch.setattr("credit_service.kafka.publish.relay.made", lambda *_, **__: Producer())
    outbox: Any = SimpleNamespace(lead=lambda _: Lock())
    relay = Relay(CONNECTION, outbox, AccessWatch(CONNECTION, Status({})), report_problem=tell)
    await relay.run()
    assert len(said) == 1
    assert told in str(said[0])


def test_what_may_pass_is_no_such_refusal() -> None:
    assert no_producer(errors.CoordinatorNotAvailableError()) is None
    assert no_producer(errors.KafkaConnectionError()) is None


async def test_without_them_publishing_is_refused_and_reading_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    async def asked(*_: object) -> Seen:
        return Seen(lacking="no transactions")

    monkeypatch.setattr("credit_service.kafka.access.monitor.inspect", asked)
    status = Status({})
    watch = AccessWatch(CONNECTION, status)
    await watch.ask()
    assert (watch.publishing, watch.reading) == (True, False)
    assert status.problems["access"] == "no transactions"
