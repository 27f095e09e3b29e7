"""An account's recorded history: everything that the ledger keeps of it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from credit_service.domain.decision import Adjustment, Change, DecidedRequest, Decision
from credit_service.domain.grant import Grant


@dataclass(frozen=True, slots=True)
class RecordedPlan:
    """A plan as the ledger keeps it; `monthly_credits` None is unlimited."""

    plan_id: str
    monthly_credits: int | None
    seats: int | None
    email_accounts: int | None
    effective_at: datetime


@dataclass(frozen=True, slots=True)
class RecordedAccount:
    """The columns of an account's row."""

    balance: int
    unlimited: bool
    sequence: int
    position: int
    last_grant_id: int
    plan_position: int
    anchor_at: datetime | None
    time_zone: str | None
    period_number: int | None
    granted_in_period: int
    declined_in_period: int
    next_timer_at: datetime | None
    parked: int


@dataclass(slots=True)
class History:
    """All that the ledger has recorded of one account.

    `decisions` are in order of their positions, `changes` in order of their sequences. `plans`, `purchases`, `requests`
    and `adjustments` are by the position of the decision that added or decided them.
    """

    account_id: str
    row: RecordedAccount
    decisions: dict[int, Decision] = field(default_factory=dict)
    changes: dict[int, Change] = field(default_factory=dict)
    grants: dict[int, Grant] = field(default_factory=dict)
    plans: dict[int, RecordedPlan] = field(default_factory=dict)
    purchases: dict[int, str] = field(default_factory=dict)
    requests: dict[int, DecidedRequest] = field(default_factory=dict)
    adjustments: dict[int, Adjustment] = field(default_factory=dict)


def positions_missing(history: History) -> Iterator[int]:
    """The positions without a decision, up to the last known one."""
    last = max([history.row.position, *history.decisions])
    return (position for position in range(1, last + 1) if position not in history.decisions)


def sums(history: History) -> Iterable[str]:
    """Says where the balance, the entries and the grants do not add up; needs no rules."""
    entries = sum(change.delta for change in history.changes.values())
    held = sum(grant.remaining for grant in history.grants.values() if grant.is_open)
    if not history.row.balance == entries == held:
        yield f"balance {history.row.balance}, entries {entries}, open grants {held}"


def is_time_known(history: History, position: int) -> bool:
    """Whether the time of a missing decision is certain: it has entries, or lies within a batch."""
    before, after = history.decisions.get(position - 1), history.decisions.get(position + 1)
    is_within_batch = before is not None and after is not None and before.decided_at == after.decided_at
    return is_within_batch or first_recorded_at(history, position) is not None


def first_recorded_at(history: History, position: int) -> datetime | None:
    """The time of the decision's first entry; None for a plan that was pending, whose entries are later than it."""
    first = next((change for change in history.changes.values() if change.cause.position == position), None)
    after = history.decisions.get(position + 1)
    if first is None or (after is not None and after.decided_at < first.recorded_at):
        return None
    return first.recorded_at
