"""The state of one account while events are folded into it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from credit_contracts.outgoing import Reason
from credit_service.domain.batch import Batch
from credit_service.domain.decision import Change, Outcome, RefundRequest
from credit_service.domain.event import Cause, Incoming
from credit_service.domain.grant import Grant, Origin
from credit_service.domain.period import Calendar, Period
from credit_service.domain.plan import Plan
from credit_service.domain.prospect import Prospect


@dataclass(slots=True)
class Account:
    """One account as loaded, changed in place by `decide`.

    `balance` is what the open grants hold, also beneath an unlimited plan. `grants` are the open ones; `prospects`,
    `purchases`, `requests`, `decided` (with the `outcomes`, for commands) and `parked_keys` hold what the inputs at
    hand asked for, not all there is. `plan_position` is the decision that brought the plan in force; it and those that
    are `pending` are loaded unless `plans_unknown_until` is set: then nothing comes of them before that instant.
    `waiting` are the first of the `parked` events in their order: all of them, or up to `waiting_until`; with
    `waiting_is_unknown` none was loaded, since nothing lets them in. `opening_since`: it is being brought in from
    elsewhere, more of it is to come, and nothing else is decided meanwhile.
    """

    account_id: str
    balance: int = 0
    unlimited: bool = False
    sequence: int = 0
    position: int = 0
    last_grant_id: int = 0
    plan_position: int = 0
    plan: Plan | None = None
    pending: list[Plan] = field(default_factory=list)
    plans_unknown_until: datetime | None = None
    calendar: Calendar | None = None
    period: Period | None = None
    granted_in_period: int = 0
    declined_in_period: int = 0
    next_timer_at: datetime | None = None
    grants: dict[int, Grant] = field(default_factory=dict)
    prospects: dict[str, Prospect] = field(default_factory=dict)
    purchases: set[str] = field(default_factory=set)
    requests: dict[int, RefundRequest] = field(default_factory=dict)
    outcomes: dict[bytes, Outcome] = field(default_factory=dict)
    decided: dict[bytes, bytes] = field(default_factory=dict)
    parked: int = 0
    parked_keys: dict[bytes, bytes] = field(default_factory=dict)
    waiting: list[Incoming] = field(default_factory=list)
    waiting_until: tuple[datetime, int, str, str] | None = None
    waiting_is_unknown: bool = False
    opening_since: datetime | None = None
    # What was loaded or touched, so that the store knows what is new, what changed, and what did not.
    new_grants: dict[int, Grant] = field(default_factory=dict)
    touched_grants: dict[int, Grant] = field(default_factory=dict)
    touched_prospects: set[str] = field(default_factory=set)
    stored_prospects: set[str] = field(default_factory=set)
    new_plans: list[Plan] = field(default_factory=list)
    settled_plans: list[Plan] = field(default_factory=list)
    new_purchases: dict[str, int] = field(default_factory=dict)

    @property
    def has_started(self) -> bool:
        """Whether a first plan was decided; before it events are parked."""
        return self.period is not None

    @property
    def is_queued_for(self) -> bool:
        """Whether what is new queues, though there is a plan: others wait, or more is to be opened first."""
        return self.parked > 0 or self.opening_since is not None

    @property
    def lets_in_who_waits(self) -> bool:
        """Whether events wait, and nothing keeps them from being decided."""
        return self.parked > 0 and self.has_started and self.opening_since is None

    @property
    def published_balance(self) -> int | None:
        """The balance as others see it: None is unlimited."""
        return None if self.unlimited else self.balance

    def forget(self, prospect_id: str) -> None:
        """Drops a prospect that nothing is known of, unless it has a row."""
        if prospect_id not in self.stored_prospects:
            del self.prospects[prospect_id]
            self.touched_prospects.discard(prospect_id)

    def note_purchase(self, purchase_id: str, cause: Cause) -> None:
        """Counts the purchase, for good."""
        self.purchases.add(purchase_id)
        self.new_purchases[purchase_id] = cause.position

    def grant(
        self, origin: Origin, amount: int, effective_at: datetime, expires_at: datetime | None, cause: Cause
    ) -> Grant:
        """Opens a grant of `amount` whole credits; the caller records the change."""
        self.last_grant_id += 1
        grant = Grant(self.last_grant_id, origin, amount, amount, effective_at, expires_at, position=cause.position)
        self.grants[grant.grant_id] = grant
        self.new_grants[grant.grant_id] = grant
        self.balance += amount
        if expires_at is not None and self.next_timer_at is not None:
            self.next_timer_at = min(self.next_timer_at, expires_at)
        return grant

    def record(
        self,
        reason: Reason,
        cause: Cause,
        lines: Sequence[tuple[int, int]],
        previous_balance: int | None,
        batch: Batch,
        *,
        occurred_at: datetime | None = None,
        refunds_sequence: int | None = None,
    ) -> int:
        """Gives the change of the balance its sequence, notes it in the batch, and returns the sequence."""
        self.sequence += 1
        batch.out.changes.append(
            Change(
                self.account_id,
                self.sequence,
                previous_balance,
                self.published_balance,
                reason,
                cause,
                lines,
                lines[0][1] if len(lines) == 1 else sum(amount for _, amount in lines),
                self.period.ends_at if self.period else None,
                occurred_at or cause.occurred_at,
                batch.now,
                refunds_sequence,
            )
        )
        return self.sequence

    def put_in_force(self, plan: Plan) -> None:
        """Puts the plan in force; what it gives is the caller's."""
        self.plan = plan
        self.plan_position = plan.cause.position
        self.unlimited = plan.monthly_credits is None

    def must_know_plans(self) -> None:
        """Raises LookupError where the plans are asked for and were not loaded: a defect, never to be guessed over."""
        if self.plans_unknown_until is not None:
            raise LookupError("plans were not loaded")

    def must_know_waiting(self) -> None:
        """Raises LookupError where the events that wait are asked for and were not loaded, as with the plans."""
        if self.waiting_is_unknown:
            raise LookupError("events that wait were not loaded")

    def reschedule(self) -> None:
        """Finds the next instant at which something happens by itself: a period's end, an expiry, a plan to come."""
        if self.period is None:
            return
        instants = [self.period.ends_at]
        instants += [g.expires_at for g in self.grants.values() if g.expires_at]
        instants += [p.effective_at for p in self.pending]
        instants += [self.plans_unknown_until] if self.plans_unknown_until else []
        self.next_timer_at = min(instants)
