"""The desk for outbox rows that Kafka refuses; later events of an account wait behind them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from credit_contracts.times import Instant
from credit_service.application.operations import Json, OperationLog, recorded
from credit_service.application.queries import JsonAnswer

ROWS_MAX = 1_000
"""How many rows one command takes."""


class SetAsideRow(JsonAnswer):
    """A row that is set aside, of an event or a dead letter; the cause, and how many events of its account wait."""

    outbox_id: int
    topic: str
    event_id: str | None
    account_id: str | None
    dead_letter_id: int | None
    cause: str
    set_aside_at: Instant
    age_seconds: int
    waiting: int


class RowAnswer(JsonAnswer):
    """The result of one row; `unknown`: it is not set aside, or not any more."""

    outbox_id: int
    became: Literal["retried", "dropped", "unknown"]


class SetAsideRows(Protocol):
    """The rows that are set aside. Raises the faults of `application.errors`."""

    async def rows(self, ids: Sequence[int] | None, limit: int) -> list[SetAsideRow]:
        """These rows, or all of them, the oldest first."""

    async def retry(self, ids: Sequence[int]) -> set[int]:
        """Puts rows, and those behind them, back into the outbox in their old order; those that were set aside."""

    async def drop(self, ids: Sequence[int], operator: str, reason: str) -> set[int]:
        """Records rows as dropped, and releases those behind them; the numbers that were set aside."""


@dataclass(frozen=True, slots=True)
class OutboxDesk:
    """Retries or drops rows that are set aside, and records the operator and the reason."""

    kept: SetAsideRows
    log: OperationLog

    async def retry(self, ids: Sequence[int], operator: str, reason: str) -> list[RowAnswer]:
        """Lets the relay publish rows again. Raises `ValueError` on an overlong text, and `LedgerUnavailable`."""
        async with recorded(self.log, "outbox-retry", operator, reason, _arguments(ids)) as operation:
            done = await self.kept.retry(ids)
            operation.result["retried"] = len(done)
        return [RowAnswer(outbox_id=i, became="retried" if i in done else "unknown") for i in ids]

    async def drop(self, ids: Sequence[int], operator: str, reason: str) -> list[RowAnswer]:
        """Drops rows, which are then never published; raises as `retry` does."""
        async with recorded(self.log, "outbox-drop", operator, reason, _arguments(ids)) as operation:
            done = await self.kept.drop(ids, operator, reason)
            operation.result["dropped"] = len(done)
        return [RowAnswer(outbox_id=i, became="dropped" if i in done else "unknown") for i in ids]


def _arguments(ids: Sequence[int]) -> dict[str, Json]:
    return {"rows": [*ids]}
