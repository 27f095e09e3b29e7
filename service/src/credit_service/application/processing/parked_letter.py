"""The dead letter of an event that was parked."""

from credit_contracts.envelope import Event, encode
from credit_service.application.ports import DeadLetter
from credit_service.application.record import Record, bytes_in_memory
from credit_service.domain.event import Incoming


def encoded_anew(incoming: Incoming, reason: str, detail: str) -> DeadLetter:
    """The letter of a parked event: only the known fields are kept of its original bytes."""
    encoded = encode(Event(incoming.source, incoming.id, incoming.type, incoming.occurred_at, incoming.data))
    timestamp_ms = int(incoming.occurred_at.timestamp() * 1000)
    size_bytes = bytes_in_memory(encoded.key, encoded.value, encoded.headers)
    record = Record(
        incoming.place, encoded.key, encoded.value, encoded.headers, timestamp_ms, incoming, incoming.order, size_bytes
    )
    return DeadLetter(record, reason, detail, is_encoded_anew=True)
