"""aiokafka's fetcher, in which each partition fails by itself, and which says how far each portion goes."""

import asyncio
import logging
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import structlog
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.errors import (
    KafkaError,
    NoError,
    NotLeaderForPartitionError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)

from credit_service.kafka.fetch.fetched import Fetched
from credit_service.kafka.fetch.portions import Fault, OutOfRange, Portion

log = structlog.get_logger(__name__)
# For lines that would be logged ten times a second while a broker is away: `log_repeats` thins out the library's own.
seldom = logging.getLogger("aiokafka.consumer.fetcher")

ERROR_SECONDS_MAX = 10.0
"""The time after which errors of the brokers count as the partition's fault."""

LEADERS_REQUESTED_EVERY_SECONDS = 0.1
"""The least time between two requests for a partition's leader: brokers that are away refuse at once."""

# The place of the aborted transactions in a broker's answer: from version 11 on, a replica's number comes after them.
_VERSION_WITH_REPLICA, _ABORTED_AT, _ABORTED_AT_BEFORE = 11, 2, -2


@dataclass(slots=True)
class FailedFetch:
    """The result of a fetch that has no records: a fault of the partition, or an error that is raised."""

    offset: int
    assignment: Any
    what: Fault | OutOfRange | KafkaError

    def calculate_backoff(self) -> float:
        """Zero: no record of this partition waits, so others may be fetched at once."""
        return 0.0


class PartitionFetcher(Fetcher):  # type: ignore[misc]  # aiokafka ships no types
    """Keeps the records of one partition when another fails.

    aiokafka's own routine sends the requests (`_fetch_requests_routine`). The answers are read here, and returned by
    `portions` instead of `fetched_records`.
    """

    _failing: dict[TopicPartition, float]
    _leaders_requested_at: float

    @classmethod
    def out_of(cls, fetcher: Fetcher) -> "PartitionFetcher":
        """Turns the fetcher that a consumer has just created, before its first requests, into one of these."""
        fetcher.__class__ = cls
        fetcher._failing = {}
        fetcher._leaders_requested_at = 0.0
        return fetcher  # type: ignore[no-any-return]  # its class was set above

    async def portions(
        self, partitions: Collection[TopicPartition], timeout_seconds: float, records_max: int, bytes_max: int
    ) -> list[Portion]:
        """The portions of `partitions`, or of all if none are given, within the bounds and as soon as there is one.

        Raises `KafkaError` if the group is lost or a topic may not be read; no record is lost by that.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_seconds
        while True:
            if self._subscriptions.reassignment_in_progress:
                await self._subscriptions.wait_for_assignment()
            if taken := self._take(partitions, records_max, bytes_max):
                return taken
            if (left := until - loop.time()) <= 0:
                return []
            waiter = self._create_fetch_waiter()
            await asyncio.wait([waiter], timeout=left)
            if self._closed or not waiter.done():
                waiter.cancel()
                return []
            waiter.result()  # raises the error of the group's coordinator

    def _take(self, partitions: Collection[TopicPartition], records_max: int, bytes_max: int) -> list[Portion]:
        portions: list[Portion] = []
        for at in [at for at in self._records if not partitions or at in partitions]:
            if records_max <= 0 or bytes_max <= 0:
                break
            fetched = self._records[at]
            if isinstance(fetched, FailedFetch) and isinstance(fetched.what, KafkaError):
                if portions:
                    break  # raised by the next call
                self._drop(at)
                raise fetched.what
            state = fetched.assignment.state_value(at) if fetched.assignment.active else None
            offset = fetched.offset if isinstance(fetched, FailedFetch) else fetched.next_offset
            if state is None or state.paused or state.position != offset:
                self._drop(at)  # revoked, paused or sought meanwhile
            elif isinstance(fetched, FailedFetch):
                self._drop(at)
                portions.append(Portion(at, offset, offset, fault=fetched.what))
            else:
                portion, is_all = fetched.take(at, records_max, bytes_max)
                state.consumed_to(fetched.next_offset)
                if is_all:
                    self._drop(at)
                else:
                    # It comes first the next time, so that only one batch at a time is unpacked and partly read.
                    self._records.move_to_end(at, last=False)
                if portion.until > portion.begin or portion.fault:
                    portions.append(portion)
                records_max -= len(portion.records)
                bytes_max -= portion.size_bytes
        return portions

    def _get_actions_per_node(self, assignment: Any) -> Any:
        """As aiokafka's, which would request unknown leaders a thousand times a second."""
        fetches, resets, seconds_max, no_leader, resumed = super()._get_actions_per_node(assignment)
        if no_leader:
            early = self._leaders_requested_at + LEADERS_REQUESTED_EVERY_SECONDS - time.monotonic()
            if early > 0:
                return fetches, resets, min(seconds_max, early), False, resumed
            self._leaders_requested_at = time.monotonic()
        return fetches, resets, seconds_max, no_leader, resumed

    def _set_error(self, tp: TopicPartition, error: KafkaError) -> None:
        """Keeps the error to raise; aiokafka calls it if a partition has no offset to begin at."""
        self._records[tp] = FailedFetch(-1, None, error)

    def _drop(self, at: TopicPartition) -> None:
        """Lets the partition be fetched again."""
        del self._records[at]
        self._notify(self._wait_consume_future)

    async def _proc_fetch_request(self, assignment: Any, node_id: Any, request: Any) -> bool:
        """Sends a fetch to one broker; true if records came. Called by aiokafka's routine."""
        try:
            response = await self._client.send(node_id, request)
        except KafkaError as fault:
            seldom.warning("broker %s did not answer a fetch: %s", node_id, type(fault).__name__)
            await asyncio.sleep(self._retry_backoff)
            return False
        except asyncio.CancelledError:
            return False  # closed, or partitions were revoked: the answer is not needed
        if not assignment.active:
            return False
        offsets = {TopicPartition(topic, at): offset for topic, of in request.topics for at, offset, _ in of}
        answers = [
            (TopicPartition(topic, partition), code, highwater, rest)
            for topic, partitions in response.topics
            for partition, code, highwater, *rest in partitions
        ]
        aborted_at = _ABORTED_AT if response.API_VERSION >= _VERSION_WITH_REPLICA else _ABORTED_AT_BEFORE
        for at, code, highwater, rest in answers:
            state, offset = assignment.state_value(at), offsets[at]
            if not state.has_valid_position or state.position != offset:
                continue  # sought meanwhile
            if (error := for_code(code)) is not NoError:
                self._note_error(at, offset, error, assignment)
                continue
            self._failing.pop(at, None)
            state.highwater, state.lso, state.timestamp = highwater, rest[0], int(time.time() * 1000)
            if rest[-1]:
                self._records[at] = Fetched(memoryview(rest[-1]), rest[aborted_at] or (), offset, assignment)
        return any(at in self._records for at, *_ in answers)

    def _note_error(self, at: TopicPartition, offset: int, error: type[KafkaError], assignment: Any) -> None:
        if error is TopicAuthorizationFailedError:
            self._records[at] = FailedFetch(offset, assignment, error(at.topic))
            return
        if error is OffsetOutOfRangeError:
            self._records[at] = FailedFetch(offset, assignment, OutOfRange())
            return
        if error in (NotLeaderForPartitionError, UnknownTopicOrPartitionError):
            self._client.force_metadata_update()
        now = time.monotonic()
        since = self._failing.setdefault(at, now)
        log.warning("a broker answers with an error", topic=at.topic, partition=at.partition, cause=error.__name__)
        if now - since >= ERROR_SECONDS_MAX:
            del self._failing[at]
            self._records[at] = FailedFetch(
                offset, assignment, Fault(offset, None, f"a broker answers {error.__name__}")
            )
