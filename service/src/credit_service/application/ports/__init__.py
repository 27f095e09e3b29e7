"""The ports: what the application needs of its surroundings.

Each module has the ports of one subject; all of them are imported from here.
"""

from credit_service.application.ports.ledger import (
    DeadLetter,
    Ledger,
    LedgerTransaction,
    ReadSoFar,
    ToStore,
    Transactions,
)
from credit_service.application.ports.offsets import OffsetStore, Positions, Skipped, TopicPartition
from credit_service.application.ports.outbox import (
    NOTHING_EXCLUDED,
    Claim,
    Excluded,
    Outbox,
    OutboxSession,
    WaitingDeadLetter,
    WaitingEvent,
)
from credit_service.application.ports.problems import ReportProblem, ignore_problem

__all__ = [
    "NOTHING_EXCLUDED",
    "Claim",
    "DeadLetter",
    "Excluded",
    "Ledger",
    "LedgerTransaction",
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
