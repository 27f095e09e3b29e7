"""The reasons for which a message that can be read becomes a dead letter."""

from credit_service.application.errors import InputsRefused, RefusedByLedger
from credit_service.domain.decision import Refused

REFUSALS = {
    "reserved-source": "the event's source is that of the service's own events",
    "conflict": "the same source and id were decided before with other content",
    "from-the-future": (
        "the event's time is more than 5 minutes ahead of the database's clock, or of its arrival in Kafka"
    ),
    "before-1970": "the event's time is before 1970",
    "account-full": "the numbers of this account are used up: of its decisions, balance changes, grants or credits",
    "parked-full": "too many events of this account wait for its first plan",
    "parked-too-long": "the account's first plan did not come in time",
}
"""Reasons of the rules, with their texts."""

REASONS_OF_FAULTS = ("refused-by-database", "undecidable")
"""Reasons that are faults of the database or of the rules, not of the message: see `reason_of`."""

REASONS_OF_ACCOUNTS = ("account-full",)
"""Reasons that hold for all events of the account, whatever they contain."""

REASONS_OF_WAITING = ("parked-full", "parked-too-long")
"""Reasons of accounts whose first plan is missing: the producer is late with it, or never sends it."""


def reason_of(error: InputsRefused) -> dict[str, str]:
    """The reason and detail of a message that the ledger refuses, or on which the rules fail."""
    if isinstance(error, RefusedByLedger):
        detail = f"SQLSTATE {error.sqlstate}" + (f", {error.constraint}" if error.constraint else "")
        return {"reason": "refused-by-database", "detail": detail}
    return {"reason": "undecidable", "detail": str(error)}


def detail_of(refused: Refused) -> str:
    """The detail of an event that the rules refuse: its own, or the text of its reason."""
    return refused.detail or REFUSALS[refused.reason]
