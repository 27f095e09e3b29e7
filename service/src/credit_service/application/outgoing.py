"""The outbox rows of what was decided."""

from itertools import chain

from credit_contracts.envelope import Event, encode
from credit_contracts.outgoing import OutgoingData
from credit_service.application.ports import OutboxRow
from credit_service.domain.decision import Decided
from credit_service.domain.published import balance_changed, insufficient_credits


def outbox_rows(decided: Decided) -> list[OutboxRow]:
    """One row for each balance change, in order, and one for each decline."""
    changes = map(balance_changed, decided.changes)
    declines = map(insufficient_credits, (d for d in decided.decisions if d.outcome == "declined"))
    rows = []
    event: Event[OutgoingData]
    for event in chain[Event[OutgoingData]](changes, declines):
        encoded = encode(event)
        rows.append(OutboxRow(event.type, encoded.key, event.id, event.time, encoded.value))
    return rows
