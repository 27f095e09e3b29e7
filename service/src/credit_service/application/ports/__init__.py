"""The ports: what the application needs of its surroundings.

Each module has the ports of one subject; all of them are imported from here.
"""

from credit_service.application.ports.ledger import (
    NOTHING_LEFT_OUT,
    Claim,
    DeadLetter,
    Ledger,
    LedgerTransaction,
    LeftOut,
    OffsetStore,
    Outbox,
    OutboxSession,
    Positions,
    ReadSoFar,
    ReportProblem,
    Skipped,
    TopicPartition,
    ToStore,
    Transactions,
    WaitingDeadLetter,
    WaitingEvent,
    ignore_problem,
)

__all__ = [
    "NOTHING_LEFT_OUT",
    "Claim",
    "DeadLetter",
    "Ledger",
    "LedgerTransaction",
    "LeftOut",
    "OffsetStore",
    "Outbox",
    "OutboxSession",
    "Positions",
    "ReadSoFar",
    "ReportProblem",
    "Skipped",
    "ToStore",
    "TopicPartition",
    "Transactions",
    "WaitingDeadLetter",
    "WaitingEvent",
    "ignore_problem",
]
