"""The ledger in Postgres as the settings ask for it, for the service and for commands."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from credit_service.application.commands.read_progress import ReadProgress
from credit_service.postgres.ledger.ledger import PostgresLedger
from credit_service.postgres.operator.operations import PostgresOperationLog

if TYPE_CHECKING:
    from credit_service.domain.rules import Rules
    from credit_service.postgres.pool import Pool
    from credit_service.settings import Settings


@dataclass(frozen=True, slots=True)
class OpenedLedger:
    """The ledger with its connections, the rules, and the record of operations."""

    pool: "Pool"
    ledger: PostgresLedger
    rules: "Rules"
    operations: PostgresOperationLog

    def reading(self, *, as_it_stands: bool) -> ReadProgress:
        """Waits until the events of an account are read, unless the operator wants a decision as it stands."""
        return ReadProgress(self.ledger, as_it_stands)


def ledger_on(settings: "Settings", pool: "Pool") -> PostgresLedger:
    """The ledger on these connections."""
    return PostgresLedger(
        pool,
        unparked_max=settings.rules.unparked_max,
        topic_prefix=settings.topic_prefix,
        letter_bytes_per_day=settings.dead_letter_bytes_per_day,
    )


def open_ledger(settings: "Settings", pool: "Pool") -> OpenedLedger:
    """The ledger on these connections, with what commands use beside it."""
    return OpenedLedger(pool, ledger_on(settings, pool), settings.rules, PostgresOperationLog(pool))
