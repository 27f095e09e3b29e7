"""The chain of what was handed over: a stored offset moves along it, and never over what nobody has seen."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from credit_service.application.ports import Positions, TopicPartition
from credit_service.application.record import Record


class ChainBroken(Exception):  # noqa: N818 - reads as the condition that it reports
    """What comes next was not handed over: the partition stands at one offset, and this follows another."""

    def __init__(self, partition: TopicPartition, stands_at: int, follows: int) -> None:
        super().__init__(f"{partition[0]}/{partition[1]} stands at {stands_at}, and what came follows {follows}")


def join(records: Sequence[Record], begin: int, until: int) -> None:
    """Chains the records of one partition, between which nothing else lies, from `begin` up to `until`."""
    if not records:
        return
    records[0].follows = begin
    for earlier, later in pairwise(records):
        later.follows = earlier.until
    records[-1].until = until


def moved(records: Iterable[Record], positions: Mapping[TopicPartition, int]) -> Positions:
    """Where `positions` come to once the records, in their order, are decided; raises `ChainBroken`."""
    reached: Positions = {}
    for record in records:
        partition = record.place[:2]
        stands_at = reached.get(partition, positions[partition])
        if record.follows != stands_at:
            raise ChainBroken(partition, stands_at, record.follows)
        reached[partition] = record.until
    return reached
