"""aiokafka's consumer, reading each partition by itself."""

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.errors import ConsumerStoppedError

from credit_service.kafka.fetch.fetcher import PartitionFetcher
from credit_service.kafka.fetch.portions import Portion


class PortionConsumer(AIOKafkaConsumer):  # type: ignore[misc]  # aiokafka ships no types
    """Reads with a `PartitionFetcher`."""

    _partition_fetcher: PartitionFetcher | None = None

    @property
    def _fetcher(self) -> PartitionFetcher | None:
        return self._partition_fetcher

    @_fetcher.setter
    def _fetcher(self, fetcher: Fetcher | None) -> None:
        self._partition_fetcher = None if fetcher is None else PartitionFetcher.out_of(fetcher)

    async def portions(
        self, *partitions: TopicPartition, timeout_ms: int, records_max: int, bytes_max: int
    ) -> list[Portion]:
        """Like `getmany`; see `PartitionFetcher.portions`. Raises `ConsumerStoppedError` once it is stopped."""
        if self._closed or self._fetcher is None:
            raise ConsumerStoppedError
        self._coordinator.check_errors()
        with self._subscription.fetch_context():
            return await self._fetcher.portions(partitions, timeout_ms / 1000, records_max, bytes_max)
