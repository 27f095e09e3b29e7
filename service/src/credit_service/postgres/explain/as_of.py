"""The point in time of an explanation: the entries and decisions that the ledger had by then."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from credit_service.application.explain.model import Unexplained, When
from credit_service.application.explain.position import last_sequence
from credit_service.postgres.explain.rows import batch_change, batch_decision

if TYPE_CHECKING:
    import asyncpg

    from credit_service.postgres.explain.snapshot import SnapshotReader

TICK = timedelta(microseconds=1)
"""The precision of stored times."""


@dataclass(frozen=True, slots=True)
class PointInTime:
    """The last decision and balance change of an account by then, and the time up to which events count as parked."""

    account_no: int
    position: int
    sequence: int
    parked_by: datetime


async def point_in_time(reader: "SnapshotReader", account: "asyncpg.Record", when: When) -> PointInTime | Unexplained:
    """The point in time that `when` names, or the reason why there is none; raises `LedgerUnavailable`."""
    number, position, sequence = account["account_no"], account["position"], account["sequence"]
    if when is None:
        return PointInTime(number, position, sequence, account["now"])
    if isinstance(when, datetime):
        if when > account["now"]:
            return "in-the-future"
        position = await reader.value("explain_position_at", number, position, when)
        return PointInTime(number, position, await reader.value("explain_sequence_at", number, sequence, when), when)
    if not 1 <= when <= position:
        return "position-beyond"
    (decision,) = await reader.all("explain_batch_decisions", number, when, when)
    at = decision["decided_at"]
    first, last = [await reader.value("explain_position_at", number, position, until) for until in (at - TICK, at)]
    before, until = [await reader.value("explain_sequence_at", number, sequence, until) for until in (at - TICK, at)]
    decisions = await reader.all("explain_batch_decisions", number, first + 1, last)
    changes = await reader.all("explain_batch_changes", number, before + 1, until)
    by_then = last_sequence(
        [batch_decision(row) for row in decisions], [batch_change(row) for row in changes], when, before
    )
    return PointInTime(number, when, by_then, at)
