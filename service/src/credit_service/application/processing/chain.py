"""The chain of records of a partition: a stored offset moves along it, and never past a record that was not read."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from credit_service.application.ports import Positions, TopicPartition
from credit_service.application.record import Record


class ChainBroken(Exception):  # noqa: N818 - reads as the condition that it reports
    """Records are missing: the partition is at one offset, and the next record follows another."""

    def __init__(self, partition: TopicPartition, offset: int, follows: int) -> None:
        super().__init__(f"{partition[0]}/{partition[1]} is at offset {offset}, but the next record follows {follows}")


def join(records: Sequence[Record], begin: int, until: int) -> None:
    """Chains the consecutive records of one partition, from `begin` up to `until`."""
    if not records:
        return
    records[0].follows = begin
    for earlier, later in pairwise(records):
        later.follows = earlier.until
    records[-1].until = until


def moved(records: Iterable[Record], positions: Mapping[TopicPartition, int]) -> Positions:
    """The positions after the records, in their order, are decided; raises `ChainBroken`."""
    reached: Positions = {}
    for record in records:
        partition = record.place[:2]
        offset = reached.get(partition, positions[partition])
        if record.follows != offset:
            raise ChainBroken(partition, offset, record.follows)
        reached[partition] = record.until
    return reached
