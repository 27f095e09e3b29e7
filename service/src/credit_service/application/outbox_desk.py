"""Rows of the outbox that Kafka refuses, and what a person makes of them. Later events of an account wait behind."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from credit_contracts.times import Instant
from credit_service.application.operations import Json, OperationLog, recorded
from credit_service.application.queries import JsonAnswer

ROWS_MAX = 1_000
"""So many rows a person may name at a time."""


class SetAsideRow(JsonAnswer):
    """A row that is set aside: an event, or a dead letter; why; and how many events of its account wait behind it."""

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
    """What became of one row; `unknown`: it is not set aside, or not any more."""

    outbox_id: int
    became: Literal["retried", "dropped", "unknown"]


class SetAsideRows(Protocol):
    """Where they are kept. Raises the faults of `application.errors`."""

    async def rows(self, ids: Sequence[int] | None, limit: int) -> list[SetAsideRow]:
        """These rows, or all, the oldest first."""

    async def retry(self, ids: Sequence[int]) -> set[int]:
        """Puts rows, and what waits behind them, back into the outbox in their old order; those that were there."""

    async def drop(self, ids: Sequence[int], operator: str, reason: str) -> set[int]:
        """Keeps of rows that they were dropped, and lets go what waits behind them; those that were there."""


@dataclass(frozen=True, slots=True)
class OutboxDesk:
    """Ends what is set aside, and keeps a record of who did so, and why."""

    kept: SetAsideRows
    log: OperationLog

    async def retry(self, ids: Sequence[int], operator: str, reason: str) -> list[RowAnswer]:
        """Has the relay try rows once more. Raises `ValueError` on an overlong text, and `LedgerUnavailable`."""
        async with recorded(self.log, "outbox-retry", operator, reason, _arguments(ids)) as operation:
            done = await self.kept.retry(ids)
            operation.result["retried"] = len(done)
        return [RowAnswer(outbox_id=i, became="retried" if i in done else "unknown") for i in ids]

    async def drop(self, ids: Sequence[int], operator: str, reason: str) -> list[RowAnswer]:
        """Has rows never be published; raises as `retry` does."""
        async with recorded(self.log, "outbox-drop", operator, reason, _arguments(ids)) as operation:
            done = await self.kept.drop(ids, operator, reason)
            operation.result["dropped"] = len(done)
        return [RowAnswer(outbox_id=i, became="dropped" if i in done else "unknown") for i in ids]


def _arguments(ids: Sequence[int]) -> dict[str, Json]:
    return {"rows": [*ids]}
