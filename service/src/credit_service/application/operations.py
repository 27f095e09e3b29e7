"""The record of operations on many things at once: operator, reason, arguments, times and result."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from credit_service.application.text_limits import OPERATOR_CHARACTERS_MAX, REASON_CHARACTERS_MAX, require_text

Ended = Literal["done", "interrupted", "failed"]
Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"


class OperationLog(Protocol):
    """Where operations are kept. Raises `LedgerUnavailable`."""

    async def begin(self, kind: str, operator: str, reason: str, arguments: Mapping[str, Json]) -> int:
        """Records the beginning; returns the operation's number."""

    async def end(self, operation_id: int, ended_as: Ended, result: Mapping[str, Json]) -> None:
        """Records the end."""


@dataclass(slots=True)
class Operation:
    """A running operation; `result` is recorded at its end. `is_interrupted`: the operator ended it early."""

    operation_id: int
    result: dict[str, Json] = field(default_factory=dict)
    is_interrupted: bool = False

    def count(self, name: str) -> None:
        """Adds one to the number of this name in the result."""
        number = self.result.get(name, 0)
        self.result[name] = (number if isinstance(number, int) else 0) + 1


@asynccontextmanager
async def recorded(
    log: OperationLog, kind: str, operator: str, reason: str, arguments: Mapping[str, Json]
) -> AsyncIterator[Operation]:
    """Records the operation that runs within; one that is killed has a beginning and no end.

    Raises `ValueError` on an empty or overlong text, and `LedgerUnavailable`.
    """
    require_text("operator", operator, OPERATOR_CHARACTERS_MAX)
    require_text("reason", reason, REASON_CHARACTERS_MAX)
    operation = Operation(await log.begin(kind, operator, reason, arguments))
    ended_as: Ended = "failed"
    try:
        yield operation
        ended_as = "interrupted" if operation.is_interrupted else "done"
    except (asyncio.CancelledError, KeyboardInterrupt):
        ended_as = "interrupted"
        raise
    finally:
        await asyncio.shield(log.end(operation.operation_id, ended_as, operation.result))
