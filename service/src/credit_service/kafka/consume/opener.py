"""Opens assigned partitions: each is set to the ledger's offset before records of it are taken."""

import asyncio
from collections.abc import Collection, Set

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from credit_service.application.errors import AccessDenied, LedgerUnavailable
from credit_service.application.ports import OffsetStore
from credit_service.application.readiness import Status
from credit_service.kafka.access.monitor import AccessWatch
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.consume.read_state import ReadState
from credit_service.kafka.consume.start_positions import start_positions

log = structlog.get_logger(__name__)

RETRY_SECONDS = 1.0


class PartitionOpener:
    """Opens partitions in tasks of its own, each of which tries again until it succeeds or is cancelled.

    `counts_differ`: the incoming topics have unequal partition counts, so that none can be opened.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        state: ReadState,
        offsets: OffsetStore,
        access: AccessWatch,
        status: Status,
    ) -> None:
        self.counts_differ = False
        self._connection = connection
        self._state = state
        self._offsets = offsets
        self._access = access
        self._status = status
        self._tasks: dict[asyncio.Task[None], Set[int]] = {}

    @property
    def opening(self) -> set[int]:
        """The partition numbers that are being opened: which records they have is not known yet."""
        return {number for numbers in self._tasks.values() for number in numbers}

    @property
    def is_opening(self) -> bool:
        """Whether partitions are being opened."""
        return bool(self._tasks)

    def open_again(self, partitions: Collection[TopicPartition]) -> None:
        """Forgets the partitions, and reads them on from the ledger's offsets."""
        if not self._state.membership.is_in:
            return  # all is forgotten already
        self._state.forget(partitions)
        if partitions:
            self._begin_to_open(set(partitions))

    async def cancel(self) -> None:
        """Ends all tasks."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin_to_open(self, partitions: set[TopicPartition]) -> None:
        task = asyncio.create_task(self._open(partitions))
        self._tasks[task] = {partition.partition for partition in partitions}
        task.add_done_callback(self._note_ended)

    def _note_ended(self, task: asyncio.Task[None] | None) -> None:
        if task is not None:
            self._tasks.pop(task, None)

    async def _open(self, partitions: set[TopicPartition]) -> None:
        # No event reports that a server is back.
        while not (self._partition_counts_are_equal() and await self._try_to_open(partitions)):  # noqa: ASYNC110
            await asyncio.sleep(RETRY_SECONDS)
        # Not only by the callback: two tasks may end in the same turn of the loop, and neither would set the status.
        self._note_ended(asyncio.current_task())
        if not self._tasks and not self._state.membership.is_rejoining:
            self._status.set("partitions", None)

    async def _try_to_open(self, partitions: set[TopicPartition]) -> bool:
        """Whether the task has nothing left to do for these partitions."""
        consumer = self._state.consumer
        try:
            paused = await self._offsets.paused_topics()
            self._state.suspend({p for p in partitions if p.topic in paused})
            partitions = {p for p in partitions if p.topic not in paused}
            topic_ids = await self._access.ask_for_topic_ids()
            self._state.lanes.clock.note(await self._offsets.note_read({}, 1))
            positions = await start_positions(consumer, self._offsets, partitions, topic_ids)
            for partition in partitions:
                offset = positions[partition.topic, partition.partition]
                if partition.topic in topic_ids:
                    self._state.topic_ids[partition] = topic_ids[partition.topic]
                consumer.open(partition, offset)
                consumer.resume(partition)
                self._state.open(partition, offset)
            # The process may have crashed between the ledger's commit and Kafka's, and no later record would mend it.
            self._state.group_offsets.note_moved(partitions)
        except LedgerUnavailable as error:
            self._report_unopened(error, f": {error}" if isinstance(error, AccessDenied) else "")
            return False
        except (KafkaError, TimeoutError) as error:
            self._report_unopened(error)
            self._access.suspect()
            return self._split_by_number(partitions)
        except IllegalStateError:
            return True  # revoked meanwhile; they are opened when they are assigned again
        log.info("partitions opened", partitions=len(partitions))
        return True

    def _report_unopened(self, error: Exception, why: str = "") -> None:
        self._status.set("partitions", f"partitions could not be opened yet{why}")
        log.warning("partitions could not be opened, trying again", cause=f"{type(error).__name__}{why}")

    def _split_by_number(self, partitions: set[TopicPartition]) -> bool:
        """Opens each number in a task of its own, so that one without a leader does not hold up the others.

        False for one number alone, which the same task tries again.
        """
        numbers = {partition.partition for partition in partitions}
        if len(numbers) <= 1:
            return False
        for number in numbers:
            self._begin_to_open({partition for partition in partitions if partition.partition == number})
        return True

    def _partition_counts_are_equal(self) -> bool:
        consumer = self._state.consumer
        counts = {t: len(consumer.partitions_for_topic(t) or ()) for t in self._connection.incoming_topics}
        self.counts_differ = len(set(counts.values())) > 1 or not all(counts.values())
        if not self.counts_differ:
            for lane in self._state.lanes:
                lane.timers.partitions = next(iter(counts.values()))
            return True
        listed = ", ".join(f"{topic} {count}" for topic, count in counts.items())
        if self._status.set("partitions", f"incoming topics have unequal partition counts: {listed}"):
            log.error("incoming topics have unequal partition counts", **counts)
            # A topic that may not be read any more looks the same: it has no partitions.
            self._access.suspect()
        return False
