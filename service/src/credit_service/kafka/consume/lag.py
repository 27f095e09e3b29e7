"""How far the ledger is behind Kafka, in messages and in seconds."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Set
from dataclasses import dataclass

from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from credit_service.application import ports
from credit_service.application.errors import LedgerUnavailable
from credit_service.application.ports import OffsetStore, Positions
from credit_service.kafka.consume.consumer import HandOverConsumer
from credit_service.kafka.consume.open_transactions import BehindTransaction
from credit_service.kafka.fetch.portions import NO_TIMESTAMP

ANSWER_SECONDS_MAX = 5.0
KNOWN_SECONDS_MAX = 20.0


@dataclass(frozen=True, slots=True)
class Lag:
    """The number of messages that are not decided yet, and the age of the oldest of them; 0 where there is none.

    Counted in offsets, as by Kafka: transaction markers between messages are counted, and so are messages behind a
    transaction that stays open.
    """

    messages: int = 0
    seconds: float = 0.0


class LagMeter:
    """Measures each partition of a member against the end of its log, which is requested from Kafka.

    The fetcher's ends are not used: they grow old while a partition is paused. `positions` are the ledger's, of
    partitions that are read; for others (paused, or not opened yet) the stored offsets are loaded. `received` is the
    offset after what was handed over, `joined` the offset after its last record: the ledger comes no further.
    `behind_transaction` gives the messages behind an open transaction: part of the lag, but they cannot be decided.
    `without_end` are the partitions of which Kafka did not give the end at the last measurement.
    """

    def __init__(
        self,
        offsets: OffsetStore,
        positions: Positions,
        received: Mapping[ports.TopicPartition, int],
        joined: Mapping[ports.TopicPartition, int],
        behind_transaction: Callable[[ports.TopicPartition], BehindTransaction | None] = lambda _: None,
    ) -> None:
        self.without_end: Set[ports.TopicPartition] = frozenset()
        self._offsets = offsets
        self._positions = positions
        self._received = received
        self._joined = joined
        self._behind_transaction = behind_transaction
        self._following: Positions = {}
        self._lags: dict[ports.TopicPartition, Lag | None] = {}
        self._measured_at = -KNOWN_SECONDS_MAX
        self._behind_since: dict[ports.TopicPartition, tuple[int, float]] = {}

    def by_topic(self) -> dict[str, Lag | None] | None:
        """The lag of each topic; None for a topic where it is unknown, or for all if it was not measured lately."""
        if time.monotonic() - self._measured_at > KNOWN_SECONDS_MAX:
            return None
        of_topics: dict[str, list[Lag | None]] = defaultdict(list)
        for partition, lag in self._lags.items():
            of_topics[partition[0]].append(self._with_unreadable(partition, lag))
        return {topic: _summed(lags) for topic, lags in of_topics.items()}

    def _with_unreadable(self, partition: ports.TopicPartition, lag: Lag | None) -> Lag | None:
        unreadable = self._behind_transaction(partition)
        if lag is None or unreadable is None:
            return lag
        return Lag(lag.messages + unreadable.messages, max(lag.seconds, unreadable.seconds))

    def is_behind(self, partitions: Collection[ports.TopicPartition]) -> bool:
        """Whether readable messages of these waited at the last measurement."""
        return any((lag := self._lags.get(partition)) is not None and lag.messages for partition in partitions)

    async def measure(
        self,
        consumer: HandOverConsumer,
        oldest_ms: Mapping[ports.TopicPartition, int],
        of_others: Set[TopicPartition] = frozenset(),
    ) -> None:
        """Measures once; `oldest_ms` are the timestamps of the first undecided messages, where they have arrived.

        Besides the member's own partitions, those `of_others` are measured, which no other member does.

        If Kafka does not answer, the last measurement is kept until it is too old. A partition whose end Kafka does not
        give, because it has no leader, is left out.
        """
        try:
            assigned = consumer.assignment() | of_others
            ends = await _ends(consumer, assigned) if assigned else {}
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                self._following = await self._find_following(consumer, ends)
                lags = {tp: await self._lag(consumer, tp, end, oldest_ms) for tp, end in ends.items()}
        except (KafkaError, IllegalStateError, TimeoutError):
            return
        self.without_end = assigned - ends.keys()
        self._lags, self._measured_at = lags, time.monotonic()
        self._behind_since = {tp: since for tp, since in self._behind_since.items() if tp in lags}

    async def _find_following(self, consumer: HandOverConsumer, assigned: Collection[TopicPartition]) -> Positions:
        """The next offset for the ledger, of each partition where that is known."""
        following: Positions = {tp: self._positions[tp] for tp in assigned if tp in self._positions}
        others = [tp for tp in assigned if tp not in self._positions]
        if not others:
            return following
        try:
            following |= await self._offsets.load(others)
        except LedgerUnavailable:
            # No batch is decided while the ledger is away, so the last known offsets are still right.
            return following | {tp: self._following[tp] for tp in others if tp in self._following}
        if unread := [tp for tp in others if tp not in following]:
            following |= await consumer.beginning_offsets(unread)
        return following

    async def _lag(
        self,
        consumer: HandOverConsumer,
        partition: TopicPartition,
        end: int,
        oldest_ms: Mapping[ports.TopicPartition, int],
    ) -> Lag | None:
        following = self._following.get(partition)
        if following is None:
            return None
        if following >= end or await self._is_done(consumer, partition, end):
            self._behind_since.pop(partition, None)
            return Lag()
        now = time.time()
        if (at_ms := oldest_ms.get(partition, NO_TIMESTAMP)) != NO_TIMESTAMP:
            return Lag(end - following, max(0.0, now - at_ms / 1000))
        # A message that has not arrived, or has no timestamp, is at least as old as the time since it was first missed.
        noticed, since = self._behind_since.get(partition, (following, now))
        if noticed != following:
            since = now
        self._behind_since[partition] = (following, since)
        return Lag(end - following, max(0.0, now - since))

    async def _is_done(self, consumer: HandOverConsumer, partition: TopicPartition, end: int) -> bool:
        """Whether only transaction markers and aborted messages lie between the ledger's offset and the end."""
        position, received = self._positions.get(partition), self._received.get(partition)
        if position is None or received is None or position != self._joined.get(partition):
            return False
        return consumer.has_handed_out(partition, received) and bool(await consumer.position(partition) >= end)


async def _ends(consumer: HandOverConsumer, partitions: Collection[TopicPartition]) -> Positions:
    """The ends of the logs; raises KafkaError or TimeoutError if Kafka gives none."""
    try:
        return await _request_ends(consumer, partitions)
    except (KafkaError, TimeoutError):
        # The client gives none if one of the partitions has no leader, so each number is requested alone.
        numbers: dict[int, list[TopicPartition]] = defaultdict(list)
        for partition in partitions:
            numbers[partition.partition].append(partition)
        answers = await asyncio.gather(
            *(_request_ends(consumer, of) for of in numbers.values()), return_exceptions=True
        )
        ends: Positions = {}
        for each in answers:
            if not isinstance(each, BaseException):
                ends |= each
            elif not isinstance(each, KafkaError | TimeoutError):
                raise each from None
        if not ends:
            raise
        return ends


async def _request_ends(consumer: HandOverConsumer, partitions: Collection[TopicPartition]) -> Positions:
    async with asyncio.timeout(ANSWER_SECONDS_MAX):
        ends: Positions = await consumer.end_offsets(partitions)
        return ends


def _summed(lags: Collection[Lag | None]) -> Lag | None:
    known = [lag for lag in lags if lag is not None]
    if len(known) < len(lags):
        return None
    return Lag(sum(lag.messages for lag in known), max(lag.seconds for lag in known))
