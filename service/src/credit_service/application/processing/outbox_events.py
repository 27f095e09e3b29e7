"""The outbox rows of decisions."""

from collections.abc import Iterable

from pydantic_core import to_json

from credit_service.application.ports import WaitingEvent
from credit_service.application.tracing import Traceparents
from credit_service.domain.decided import Decided
from credit_service.domain.published import Published, balance_changed, insufficient_credits


def outbox_rows(decided: Decided) -> list[WaitingEvent]:
    """One row for each balance change, in order, and one for each decline."""
    changes = [waiting(balance_changed(change)) for change in decided.changes]
    declines = [waiting(insufficient_credits(d)) for d in decided.decisions if d.outcome == "declined"]
    return changes + declines


def trace(rows: Iterable[WaitingEvent], decided: Decided, traceparents: Traceparents) -> None:
    """Gives each of the `outbox_rows` of `decided` the trace of the event that caused it."""
    causes = [(c.account_id, c.cause.source, c.cause.id) for c in decided.changes]
    causes += [(d.account_id, d.source, d.id) for d in decided.decisions if d.outcome == "declined"]
    for row, cause in zip(rows, causes, strict=True):
        row.trace = traceparents.get(cause)


def waiting(event: Published) -> WaitingEvent:
    """The outbox row of an event."""
    return WaitingEvent(event.type, event.account_id.encode(), event.id, event.time, to_json(event.data))
