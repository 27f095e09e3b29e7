"""The contract of each topic: who writes and reads it, key, partitions, retention, order, delivery, compatibility."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from pydantic import BaseModel

from credit_contracts.incoming import INCOMING
from credit_contracts.outgoing import OUTGOING
from credit_contracts.partitioning import murmur2, partition_for

__all__ = [
    "DEAD_LETTER_TOPIC",
    "INCOMING_TOPICS",
    "OUTGOING_TOPICS",
    "TOPICS",
    "Direction",
    "TopicContract",
    "murmur2",
    "partition_for",
]

Direction = Literal["in", "out", "dead-letters"]

PARTITIONS: Final = 12
MAX_MESSAGE_BYTES: Final = 1024 * 1024 + 12  # Kafka's own default: 1 MiB and a batch's overhead

INCOMING_TOPICS: Final = tuple(INCOMING)
OUTGOING_TOPICS: Final = tuple(OUTGOING)
DEAD_LETTER_TOPIC: Final = "credit-service-dead-letters"


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicContract:
    """What producers, consumers and operators may rely on for one topic.

    `timestamp_type` is Kafka's `message.timestamp.type`; None leaves it to the broker.
    """

    name: str
    direction: Direction
    description: str
    model: type[BaseModel] | None
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    ordering: str
    delivery: str
    compatibility: str
    key: str = "account_id"
    partitions: int = PARTITIONS
    retention_ms: int
    cleanup_policy: str = "delete"
    max_message_bytes: int = MAX_MESSAGE_BYTES
    timestamp_type: str | None = None

    @property
    def retention_days(self) -> int:
        """Retention in whole days."""
        return timedelta(milliseconds=self.retention_ms).days


_OUTGOING_ORDERING: Final = (
    "By `sequence` within an account, without a gap.",
    "By the number of the decision within an account, which ends the id; with gaps.",
)


def _days_ms(days: int) -> int:
    return timedelta(days=days) // timedelta(milliseconds=1)


def _description(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").partition("\n")[0]


TOPICS: Final[tuple[TopicContract, ...]] = (
    *(
        TopicContract(
            name=name,
            direction="in",
            description=_description(model),
            model=model,
            producers=model.producers,
            consumers=("credit-service",),
            ordering="In order of occurrence per account where the producer can; late events are settled in order.",
            delivery="At least once: send until it is acknowledged, under the same id. A repeat has no effect.",
            compatibility="Older messages stay readable: new fields are optional, none is removed or made stricter.",
            retention_ms=_days_ms(30),
            # An event's own time is checked against the arrival of its message; a producer could set any time.
            timestamp_type="LogAppendTime",
        )
        for name, model in INCOMING.items()
    ),
    *(
        TopicContract(
            name=name,
            direction="out",
            description=_description(model),
            model=model,
            producers=("credit-service",),
            consumers=("notifications", "dashboards", "campaigns"),
            ordering=ordering,
            delivery="Exactly once for a read_committed consumer; after a restore, again under the same ids.",
            compatibility="Older consumers can read every message: fields are added, none is removed.",
            retention_ms=_days_ms(30),
        )
        for (name, model), ordering in zip(OUTGOING.items(), _OUTGOING_ORDERING, strict=True)
    ),
    TopicContract(
        name=DEAD_LETTER_TOPIC,
        direction="dead-letters",
        description="A message that could not be read or decided: its bytes, headers, place and the reason.",
        model=None,
        producers=("credit-service",),
        consumers=("operations",),
        key="the original key; none for one above 64 KiB",
        ordering="None.",
        delivery="Exactly once for a read_committed consumer.",
        compatibility="Existing headers never change; others may be added.",
        retention_ms=_days_ms(90),
    ),
)
