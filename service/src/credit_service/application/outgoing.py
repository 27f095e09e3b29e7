"""The outbox rows of what was decided."""

from pydantic_core import to_json

from credit_service.application.ports import WaitingEvent
from credit_service.domain.decision import Decided
from credit_service.domain.published import Published, balance_changed, insufficient_credits


def outbox_rows(decided: Decided) -> list[WaitingEvent]:
    """One row for each balance change, in order, and one for each decline."""
    changes = [waiting(balance_changed(change)) for change in decided.changes]
    declines = [waiting(insufficient_credits(d)) for d in decided.decisions if d.outcome == "declined"]
    return changes + declines


def waiting(event: Published) -> WaitingEvent:
    """The event as it waits in the outbox."""
    return WaitingEvent(event.type, event.account_id.encode(), event.id, event.time, to_json(event.data))
