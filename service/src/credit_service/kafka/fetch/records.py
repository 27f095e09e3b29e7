"""Turns fetched items into the application's records."""

from credit_service.application.ports import TopicPartition
from credit_service.application.record import Record, batch_of, read_record
from credit_service.domain.event import Place
from credit_service.kafka.fetch.portions import Item, TooLargeBatch


def read_item(partition: TopicPartition, event_type: str, item: Item) -> Record:
    """The record of an item; a batch that is too large to unpack is one unreadable record for all its offsets."""
    place = Place(*partition, item.offset)
    if isinstance(item, TooLargeBatch):
        return batch_of(place, item.until, item.value, item.timestamp, is_append_time=item.is_append_time)
    return read_record(
        place, event_type, item.key, item.value, item.headers, item.timestamp, is_append_time=item.is_append_time
    )
