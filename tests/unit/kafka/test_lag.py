"""How far the ledger is behind Kafka: which messages wait, how old they are, and when that is unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError

from credit_service.application.errors import LedgerUnavailable
from credit_service.kafka.consume.lag import Lag, LagMeter
from credit_service.kafka.consume.open_transactions import BehindTransaction

if TYPE_CHECKING:
    from collections.abc import Iterable

    from credit_service.application.ports import Positions

HERE, THERE = TopicPartition("bounced", 0), TopicPartition("bounced", 1)
NOW = 1_000_000.0


class Kafka:
    """Stands in for the consumer and for the stored offsets."""

    def __init__(self) -> None:
        self.ends: Positions = {HERE: 100}
        self.reached: Positions = {}
        self.handed_out: Positions = {}
        self.stored: Positions = {}
        self.kafka_is_away = self.ledger_is_away = False
        self.leaderless: set[Any] = set()

    def assignment(self) -> set[Any]:
        return set(self.ends)

    async def end_offsets(self, partitions: Iterable[Any]) -> Positions:
        """The ends of all partitions or, like the client, of none."""
        if self.kafka_is_away or self.leaderless & set(partitions):
            raise KafkaConnectionError
        return {p: self.ends[p] for p in partitions}

    async def beginning_offsets(self, partitions: Iterable[Any]) -> Positions:
        return dict.fromkeys(partitions, 40)

    def has_handed_out(self, partition: Any, offset: int) -> bool:
        return self.handed_out.get(partition) == offset

    async def position(self, partition: Any) -> int:
        return self.reached[partition]

    async def load(self, partitions: Iterable[Any]) -> Positions:
        if self.ledger_is_away:
            raise LedgerUnavailable
        return {p: self.stored[p] for p in partitions if p in self.stored}


class Measured:
    """A meter with its inputs."""

    def __init__(self) -> None:
        self.kafka = Kafka()
        self.positions: Positions = {}
        self.received: Positions = {}
        self.joined: Positions = {}
        self.hidden: dict[Any, BehindTransaction] = {}
        self.meter = LagMeter(
            cast("Any", self.kafka), self.positions, self.received, self.joined, lambda at: self.hidden.get(at)
        )

    async def lag(self, oldest_ms: dict[Any, int] | None = None) -> Lag | None:
        await self.meter.measure(cast("Any", self.kafka), oldest_ms or {})
        of_topics = self.meter.by_topic()
        return None if of_topics is None else of_topics.get("bounced")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time by both clocks."""
    now = [NOW]
    monkeypatch.setattr("credit_service.kafka.consume.lag.time.time", lambda: now[0])
    monkeypatch.setattr("credit_service.kafka.consume.lag.time.monotonic", lambda: now[0])
    return now


@pytest.fixture
def measured(clock: list[float]) -> Measured:
    assert clock
    return Measured()


async def test_nothing_waits_where_all_is_decided(measured: Measured) -> None:
    measured.positions[HERE] = 100
    assert await measured.lag() == Lag(0, 0)
    assert not measured.meter.is_behind([HERE])


async def test_what_waits_is_as_old_as_its_oldest_message(measured: Measured) -> None:
    measured.positions[HERE] = 90
    assert await measured.lag({HERE: int(NOW - 30) * 1000}) == Lag(10, 30)
    assert measured.meter.is_behind([HERE])
    assert not measured.meter.is_behind([THERE])


async def test_what_nobody_can_read_is_part_of_the_lag_and_nothing_that_could_be_decided(measured: Measured) -> None:
    measured.positions[HERE] = 100
    measured.hidden[HERE] = BehindTransaction(21, 12)
    assert await measured.lag() == Lag(21, 12)
    assert not measured.meter.is_behind([HERE])
    measured.positions[HERE] = 90
    assert await measured.lag({HERE: int(NOW - 30) * 1000}) == Lag(31, 30)
    assert measured.meter.is_behind([HERE])


async def test_what_has_not_arrived_is_as_old_as_the_time_since_it_was_missed(
    measured: Measured, clock: list[float]
) -> None:
    measured.positions[HERE] = 90
    assert await measured.lag() == Lag(10, 0)
    clock[0] += 7
    assert await measured.lag() == Lag(10, 7)
    # Nor has a message told it that was sent without a timestamp.
    assert await measured.lag({HERE: -1}) == Lag(10, 7)
    measured.positions[HERE] = 95
    assert await measured.lag() == Lag(5, 0)


async def test_markers_behind_the_last_message_are_none(measured: Measured) -> None:
    measured.positions[HERE] = measured.received[HERE] = measured.kafka.handed_out[HERE] = 98
    measured.joined[HERE] = 98
    measured.kafka.reached[HERE] = 100
    assert await measured.lag() == Lag(0, 0)


async def test_aborted_messages_behind_the_last_one_are_none_though_they_were_handed_over(measured: Measured) -> None:
    measured.positions[HERE] = measured.joined[HERE] = 90
    measured.received[HERE] = measured.kafka.handed_out[HERE] = measured.kafka.reached[HERE] = 100
    assert await measured.lag() == Lag(0, 0)
    measured.joined[HERE] = 95
    assert await measured.lag() == Lag(10, 0)


@pytest.mark.parametrize("is_received", [False, True])
async def test_a_message_on_its_way_through_is_no_marker(is_received: bool, measured: Measured) -> None:
    measured.positions[HERE] = 98
    measured.received[HERE] = measured.joined[HERE] = 99 if is_received else 98
    measured.kafka.handed_out[HERE] = 99
    measured.kafka.reached[HERE] = 100
    assert await measured.lag() == Lag(2, 0)


async def test_of_partitions_that_are_not_read_the_stored_offsets_count(measured: Measured) -> None:
    """The log's beginning counts where no message was ever read."""
    measured.kafka.ends = {HERE: 100, THERE: 100}
    measured.kafka.stored = {HERE: 99}
    assert await measured.lag() == Lag(1 + 60, 0)


async def test_while_the_ledger_is_away_nothing_moves_and_what_was_never_known_is_not_told(measured: Measured) -> None:
    measured.kafka.stored = {HERE: 90}
    assert await measured.lag() == Lag(10, 0)
    measured.kafka.ledger_is_away = True
    measured.kafka.ends[HERE] = 105
    assert await measured.lag() == Lag(15, 0)
    measured.kafka.ends[THERE] = 5
    assert await measured.lag() is None


async def test_while_kafka_is_away_the_last_measurement_stands_for_a_while(
    measured: Measured, clock: list[float]
) -> None:
    measured.positions[HERE] = 90
    await measured.lag()
    measured.kafka.kafka_is_away = True
    clock[0] += 15
    assert await measured.lag() == Lag(10, 0)
    clock[0] += 15
    assert await measured.lag() is None


async def test_what_is_not_had_any_more_is_forgotten(measured: Measured) -> None:
    measured.positions[HERE] = 90
    await measured.lag()
    measured.kafka.ends = {}
    assert await measured.lag() is None
    assert not measured.meter.is_behind([HERE])


async def test_one_without_a_leader_hides_none_but_itself(measured: Measured) -> None:
    measured.kafka.ends = {HERE: 100, THERE: 100}
    measured.positions |= {HERE: 90, THERE: 80}
    assert await measured.lag() == Lag(30, 0)
    assert measured.meter.without_end == set()
    measured.kafka.leaderless = {HERE}
    measured.kafka.ends[THERE] = 101
    assert await measured.lag() == Lag(21, 0)
    assert measured.meter.without_end == {HERE}
    assert not measured.meter.is_behind([HERE])
    assert measured.meter.is_behind([THERE])


async def test_a_defect_is_not_taken_for_a_partition_without_a_leader(
    measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured.kafka.ends = {HERE: 100, THERE: 100}
    measured.kafka.leaderless = {HERE}
    tells = measured.kafka.end_offsets

    async def end_offsets(partitions: Iterable[Any]) -> Positions:
        if list(partitions) == [THERE]:
            raise ZeroDivisionError
        return await tells(partitions)

    monkeypatch.setattr(measured.kafka, "end_offsets", end_offsets)
    with pytest.raises(ZeroDivisionError):
        await measured.lag()


async def test_where_none_has_a_leader_what_was_known_stands(measured: Measured, clock: list[float]) -> None:
    measured.positions[HERE] = 90
    await measured.lag()
    measured.kafka.leaderless = {HERE}
    clock[0] += 5
    assert await measured.lag() == Lag(10, 0)
    assert measured.meter.is_behind([HERE])
