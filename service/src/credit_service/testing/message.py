"""The messages that the service in memory publishes, byte for byte those of Kafka."""

from dataclasses import dataclass

from credit_contracts.dead_letters import REASON_HEADER
from credit_contracts.envelope import Event, Unreadable, decode_outgoing
from credit_contracts.outgoing import OUTGOING, OutgoingData
from credit_contracts.sequence_guard import Place
from credit_contracts.topics import DEAD_LETTER_TOPIC
from credit_service.application.kept_record import Headers


@dataclass(frozen=True, slots=True)
class Message:
    """One outgoing record; `topic` is its name in the contracts. Key, value and headers are the bytes sent to Kafka.

    `place` is the record's position for `SequenceGuard.take`. Offsets count from 0 in each partition of a topic,
    without the gaps that transactions leave in Kafka.
    """

    topic: str
    place: Place
    key: bytes | None
    value: bytes | None
    headers: Headers

    @property
    def partition(self) -> int:
        """The number of the partition."""
        return self.place.partition

    @property
    def is_dead_letter(self) -> bool:
        """Whether it is a message that could not be read or decided; `reason` says why."""
        return self.topic == DEAD_LETTER_TOPIC

    @property
    def event(self) -> Event[OutgoingData]:
        """The event, as a consumer reads it with `decode_outgoing`; raises `LookupError` on a dead letter."""
        if self.topic not in OUTGOING:
            raise LookupError(f"a message of {self.topic} is no event of the service")
        event = decode_outgoing(self.headers, self.value)
        if isinstance(event, Unreadable):
            raise LookupError(f"{event.reason}: {event.detail}")
        return event

    @property
    def reason(self) -> str | None:
        """Why it is a dead letter; None on an event."""
        # The last one: an original header may have the same name.
        values = [value for name, value in self.headers if name == REASON_HEADER and self.is_dead_letter]
        return values[-1].decode() if values and values[-1] is not None else None
