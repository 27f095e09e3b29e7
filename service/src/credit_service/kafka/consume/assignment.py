"""The partitions that a rebalance assigns or revokes: opened at the ledger's offsets, forgotten when they go."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection

from aiokafka import TopicPartition

from credit_service.kafka.consume.opener import PartitionOpener
from credit_service.kafka.consume.read_state import ReadState


class Assignment:
    """Does for the buffers what the member reports of its partitions.

    `abandon` is set while partitions are revoked: it gives up a batch that waits for the ledger.
    """

    def __init__(self, state: ReadState, opener: PartitionOpener, abandon: asyncio.Event) -> None:
        self._state = state
        self._opener = opener
        self._abandon = abandon

    def assigned(self, partitions: Collection[TopicPartition]) -> None:
        """Begins to open the partitions; records are taken once each is set to the ledger's offset."""
        self._opener.open_again(partitions)

    async def revoked(self, partitions: Collection[TopicPartition]) -> None:
        """Waits for the batches in hand, or gives them up if the ledger is away; then forgets the partitions."""
        self._abandon.set()
        async with self._state.lanes.at_rest():
            if self._state.membership.is_in:
                await self._opener.cancel()
                await self._state.group_offsets.commit(self._state.consumer)
                self._state.forget(partitions)
                self._state.held.forget(partitions)
                self._state.group_offsets.begin_anew()
            self._abandon.clear()

    @contextlib.asynccontextmanager
    async def dropped(self) -> AsyncIterator[None]:
        """Gives up the batches in hand, and forgets all partitions; no batch begins while this lasts."""
        self._abandon.set()
        async with self._state.lanes.at_rest():
            self._abandon.clear()
            await self._opener.cancel()
            if self._state.membership.is_in:
                lanes = self._state.lanes
                buffered = {TopicPartition(*partition) for lane in lanes for partition in lane.merge.partitions}
                self._state.forget(buffered | self._state.suspended | self._state.consumer.assignment())
                self._state.held.forget(list(self._state.held))
                self._state.group_offsets.begin_anew()
            yield

    async def close(self) -> None:
        """Opens no more partitions, and commits the ledger's offsets to Kafka."""
        await self._opener.cancel()
        if self._state.membership.is_in:
            await self._state.group_offsets.commit(self._state.consumer)

    @property
    def is_opening(self) -> bool:
        """Whether partitions are not opened yet."""
        return self._opener.is_opening
