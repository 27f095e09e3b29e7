"""The reasons for which a message that can be read becomes a dead letter."""

from credit_contracts.dead_letters import reasons_of
from credit_service.application.errors import InputsRefused, RefusedByLedger
from credit_service.domain.decision import Refused

REFUSALS = reasons_of("event", "account", "first-plan")
"""Reasons of the rules, with their texts."""

REASONS_OF_FAULTS = tuple(reasons_of("service"))
"""Reasons that are faults of the database or of the rules, not of the message: see `reason_of`."""

REASONS_OF_ACCOUNTS = tuple(reasons_of("account"))
"""Reasons that hold for all events of the account, whatever they contain."""

REASONS_OF_WAITING = tuple(reasons_of("first-plan"))
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
