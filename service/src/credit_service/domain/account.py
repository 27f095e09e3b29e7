"""The state of one account, and the only methods that change it."""

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
from credit_service.domain.unstored import Unstored


@dataclass(slots=True)
class Account:
    """One account as loaded, changed in place by `decide`.

    `balance` is the sum of the open `grants`, also beneath an unlimited plan. `prospects`, `purchases`, `requests`,
    `decided` (with the `outcomes` of commands) and `parked_keys` hold only the rows that the inputs need.
    `plan_position` is the decision on the plan in force. That plan and the `pending` ones are loaded unless
    `plans_unknown_until` is set: then they have no effect before that instant. `waiting` are the first of the `parked`
    events in their order: all, or those up to `waiting_until`; with `waiting_is_unknown` none was loaded, since no
    input can unpark them. `opening_since` is set while more of the account is to be opened: nothing else is decided.
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
    stored_prospects: set[str] = field(default_factory=set)
    unstored: Unstored = field(default_factory=Unstored)

    @property
    def has_started(self) -> bool:
        """Whether a first plan was decided; without one, events are parked."""
        return self.period is not None

    @property
    def queues_new_events(self) -> bool:
        """Whether new events are parked although there is a plan: behind parked events, or during an opening."""
        return self.parked > 0 or self.opening_since is not None

    @property
    def can_unpark(self) -> bool:
        """Whether there are parked events, and they can be decided."""
        return self.parked > 0 and self.has_started and self.opening_since is None

    @property
    def published_balance(self) -> int | None:
        """The balance as it is published: None is unlimited."""
        return None if self.unlimited else self.balance

    def next_position(self) -> int:
        """Takes the next position for a decision."""
        self.position += 1
        return self.position

    def number_decision(self, key: bytes, content: bytes) -> int:
        """Takes the next position for the decision of an event or command, whose key is known from now on."""
        self.decided[key] = content
        self.position += 1
        return self.position

    def note_outcome(self, key: bytes, outcome: Outcome) -> None:
        """Keeps the outcome of a command, which is the answer where the command is repeated in the same batch."""
        self.outcomes[key] = outcome

    def open_grant(
        self, origin: Origin, amount: int, effective_at: datetime, expires_at: datetime | None, cause: Cause
    ) -> Grant:
        """Opens a grant of `amount` credits; the caller records the change. A plan's grant counts for the period."""
        self.last_grant_id += 1
        grant = Grant(self.last_grant_id, origin, amount, amount, effective_at, expires_at, position=cause.position)
        self.grants[grant.grant_id] = grant
        self.unstored.new_grants[grant.grant_id] = grant
        self.balance += amount
        if origin == "plan":
            self.granted_in_period += amount
        if expires_at is not None and self.next_timer_at is not None:
            self.next_timer_at = min(self.next_timer_at, expires_at)
        return grant

    def take_from(self, grant: Grant, amount: int) -> None:
        """Takes credits out of an open grant that has as many left; the caller records the change."""
        grant.remaining -= amount
        self.balance -= amount
        self.unstored.changed_grants[grant.grant_id] = grant

    def give_back_to(self, grant: Grant) -> None:
        """Gives one credit back to the open grant that it was taken from; the caller records the change."""
        grant.remaining += 1
        self.balance += 1
        self.unstored.changed_grants[grant.grant_id] = grant

    def enlarge(self, grant: Grant) -> None:
        """Adds one credit to an open grant; the caller records the change."""
        grant.amount += 1
        self.give_back_to(grant)

    def close(self, grant: Grant) -> int:
        """Closes an open grant and returns what was left in it; the caller records the change."""
        left = grant.remaining
        self.take_from(grant, left)
        grant.is_open = False
        del self.grants[grant.grant_id]
        return left

    def record(
        self,
        reason: Reason,
        cause: Cause,
        lines: Sequence[tuple[int, int]],
        batch: Batch,
        *,
        was_unlimited: bool | None = None,
        occurred_at: datetime | None = None,
        refunds_sequence: int | None = None,
    ) -> int:
        """Records a balance change that was made already, and returns its sequence.

        `lines` are (grant_id, signed credits). `was_unlimited` is given if the plan may have changed that.
        """
        delta = lines[0][1] if len(lines) == 1 else sum(amount for _, amount in lines)
        balance, unlimited = self.balance, self.unlimited
        hides_previous = unlimited if was_unlimited is None else was_unlimited
        self.sequence += 1
        batch.out.changes.append(
            Change(
                self.account_id,
                self.sequence,
                None if hides_previous else balance - delta,
                None if unlimited else balance,
                reason,
                cause,
                lines,
                delta,
                self.period.ends_at if self.period else None,
                occurred_at or cause.occurred_at,
                batch.now,
                refunds_sequence,
            )
        )
        return self.sequence

    def prospect(self, prospect_id: str) -> Prospect:
        """The prospect; an unknown one is added, and is stored once it is marked as changed."""
        prospect = self.prospects.get(prospect_id)
        if prospect is None:
            prospect = self.prospects[prospect_id] = Prospect(prospect_id)
        return prospect

    def add_prospect(self, prospect: Prospect) -> None:
        """Adds a prospect that was unknown before."""
        self.prospects[prospect.prospect_id] = prospect
        self.unstored.changed_prospects.add(prospect.prospect_id)

    def mark_changed(self, prospect_id: str) -> None:
        """Has the prospect stored."""
        self.unstored.changed_prospects.add(prospect_id)

    def forget(self, prospect_id: str) -> None:
        """Drops a prospect of which nothing is known, unless it has a row."""
        if prospect_id not in self.stored_prospects:
            del self.prospects[prospect_id]
            self.unstored.changed_prospects.discard(prospect_id)

    def add_purchase(self, purchase_id: str, cause: Cause) -> None:
        """Counts the purchase, for good."""
        self.purchases.add(purchase_id)
        self.unstored.new_purchases[purchase_id] = cause.position

    def put_request(self, request: RefundRequest) -> None:
        """Keeps a refund request with the status that it has now."""
        self.requests[request.charge_sequence] = request

    def count_decline(self) -> None:
        """Counts a declined charge of the current period."""
        self.declined_in_period += 1

    def start(self, calendar: Calendar, at: datetime) -> Period:
        """Sets the calendar, for good, and returns the current period: the one that contains `at`."""
        self.calendar = calendar
        self.period = period = calendar.period_at(at)
        self.reschedule()
        return period

    def begin_period(self, period: Period) -> None:
        """Turns to the next period, in which nothing was granted or declined yet."""
        self.period = period
        self.granted_in_period = 0
        self.declined_in_period = 0

    def count_as_granted(self, amount: int) -> None:
        """Counts plan credits of the current period that were granted before the account was opened here."""
        self.granted_in_period += amount

    def add_plan(self, plan: Plan) -> None:
        """Keeps a plan that is new; it is neither in force nor pending yet."""
        self.unstored.new_plans += (plan,)

    def postpone(self, plan: Plan, at: datetime) -> None:
        """Keeps the plan pending; one that is due `at` now waits for the timer of that instant."""
        self.pending.append(plan)
        if plan.effective_at > at:
            self.reschedule()

    def plans_due(self, at: datetime) -> list[Plan]:
        """The pending plans that take effect up to `at`."""
        return [plan for plan in self.pending if plan.effective_at <= at]

    def put_in_force(self, plan: Plan) -> None:
        """Puts the plan in force; the caller grants its credits."""
        self.plan = plan
        self.plan_position = plan.cause.position
        self.unlimited = plan.monthly_credits is None

    def settle_plans(self, due: Sequence[Plan]) -> None:
        """Removes the plans that were `due` from the pending ones: each is in force now, or superseded."""
        self.pending = [plan for plan in self.pending if plan not in due]
        in_force = self.plan
        settled = (in_force if in_force and in_force.order == plan.order else plan for plan in due)
        self.unstored.settled_plans += tuple(settled)

    def park(self, incoming: Incoming) -> None:
        """Adds an event to the parked ones."""
        self.parked += 1
        self.parked_keys[incoming.key] = incoming.content
        self.waiting.append(incoming)

    def take_waiting(self, events_max: int) -> list[Incoming]:
        """Takes out the first parked events, at most `events_max`, and none past the last one loaded.

        Raises LookupError if they were not loaded: the loader has a defect.
        """
        if self.waiting_is_unknown:
            raise LookupError("parked events were not loaded")
        self.waiting.sort(key=lambda incoming: incoming.order)
        until = self.waiting_until
        ready = [i for i in self.waiting if until is None or i.order <= until][:events_max]
        self.waiting = self.waiting[len(ready) :]
        self.parked -= len(ready)
        for incoming in ready:
            del self.parked_keys[incoming.key]
        return ready

    def set_opening(self, since: datetime | None) -> None:
        """Begins the opening, during which new events are parked; None ends it."""
        self.opening_since = since

    def require_plans(self) -> None:
        """Raises LookupError if the plans were not loaded: the loader has a defect, and a guess would be wrong."""
        if self.plans_unknown_until is not None:
            raise LookupError("plans were not loaded")

    def stop_timers(self) -> None:
        """Cancels the timers of a full account, so that the sweep does not find it due again and again."""
        self.next_timer_at = None

    def reschedule(self) -> None:
        """Finds the instant of the next timer: the period's end, an expiry, or a pending plan."""
        if self.period is None:
            return
        instants = [self.period.ends_at]
        instants += [g.expires_at for g in self.grants.values() if g.expires_at]
        instants += [p.effective_at for p in self.pending]
        instants += [self.plans_unknown_until] if self.plans_unknown_until else []
        self.next_timer_at = min(instants)

    def mark_stored(self) -> None:
        """Drops what belongs to one batch, as storing and loading the account would."""
        self.stored_prospects |= self.unstored.changed_prospects
        self.unstored = Unstored()
        self.decided.clear()
        self.outcomes.clear()
