"""The outbox rows of what was decided."""

from credit_contracts.envelope import Event, encode_data
from credit_contracts.outgoing import OutgoingData
from credit_service.application.ports import WaitingEvent
from credit_service.domain.decision import Decided
from credit_service.domain.published import balance_changed, insufficient_credits


def outbox_rows(decided: Decided) -> list[WaitingEvent]:
    """One row for each balance change, in order, and one for each decline."""
    changes = [_row(balance_changed(change)) for change in decided.changes]
    declines = [_row(insufficient_credits(d)) for d in decided.decisions if d.outcome == "declined"]
    return changes + declines


def _row(event: Event[OutgoingData]) -> WaitingEvent:
    return WaitingEvent(event.type, event.data.account_id.encode(), event.id, event.time, encode_data(event.data))
