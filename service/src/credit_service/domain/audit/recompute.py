"""An account's decisions folded once more, in the order and at the times that were recorded, by the same rules."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter

from credit_contracts.incoming import (
    WRONG_EMAIL,
    CreditsPurchased,
    EmailBounced,
    IncomingData,
    PlanChanged,
    ProspectDeleted,
    ProspectExported,
    ProspectGenerated,
    ProspectImported,
    ProspectStageChanged,
    ProspectTransferred,
)
from credit_contracts.outgoing import SERVICE_SOURCE
from credit_service.domain.account import Account
from credit_service.domain.command import (
    Adjust,
    Command,
    CommandData,
    CommandType,
    DecideRefund,
    OpenAccount,
    OpenProspect,
    OpenPurchase,
)
from credit_service.domain.decide import decide
from credit_service.domain.decided import Decided
from credit_service.domain.decision import Adjustment, Change, DecidedRequest, Decision
from credit_service.domain.event import PLAN_CHANGED, Incoming, Place, Wake
from credit_service.domain.first_plan import began_at, begins_at
from credit_service.domain.grant import Grant
from credit_service.domain.idempotency import content_of
from credit_service.domain.prospect import ORIGIN_OF
from credit_service.domain.rules import Rules

ALL_TIMERS = 1_000_000
SWEEP_SECONDS = timedelta(seconds=10)
NOWHERE = Place("", 0, 0)
TIMERS = ("renewal", "expiry")

_OF_A_PROSPECT: Mapping[
    str,
    type[ProspectGenerated | ProspectExported | ProspectImported | ProspectTransferred | ProspectDeleted],
] = {
    "prospect-generated": ProspectGenerated,
    "prospect-exported": ProspectExported,
    "prospect-imported": ProspectImported,
    "prospect-transferred": ProspectTransferred,
    "prospect-deleted": ProspectDeleted,
}


@dataclass(frozen=True, slots=True)
class PlanRow:
    """What a plan-changed event said, as the ledger keeps it; `monthly_credits` None is unlimited."""

    plan_id: str
    monthly_credits: int | None
    seats: int | None
    email_accounts: int | None
    effective_at: datetime


@dataclass(frozen=True, slots=True)
class AccountRow:
    """What an account's row says."""

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

    `decisions` by position and `changes` by sequence, both in order. `plans`, `purchases`, `requests` and
    `adjustments` are by the position of the decision that brought or decided them.
    """

    account_id: str
    standing: AccountRow
    decisions: dict[int, Decision] = field(default_factory=dict)
    changes: dict[int, Change] = field(default_factory=dict)
    grants: dict[int, Grant] = field(default_factory=dict)
    plans: dict[int, PlanRow] = field(default_factory=dict)
    purchases: dict[int, str] = field(default_factory=dict)
    requests: dict[int, DecidedRequest] = field(default_factory=dict)
    adjustments: dict[int, Adjustment] = field(default_factory=dict)


@dataclass(slots=True)
class Recomputed:
    """What the rules make of a history. `stopped_at`: from that decision on they could not follow what is recorded."""

    account: Account
    decisions: dict[int, Decision] = field(default_factory=dict)
    changes: dict[int, Change] = field(default_factory=dict)
    grants: dict[int, Grant] = field(default_factory=dict)
    stopped_at: int | None = None


def recompute(
    history: History, rules: Rules, found: Mapping[int, Incoming] | None = None, *, eagerly: bool = False
) -> Recomputed:
    """Folds the history from its beginning. `found` are the messages of decisions that are missing, by position.

    In which month the account began is as recorded, whatever the rules say of old first plans by now. When a plan for
    later took effect is recorded only where it gave credits or switched to or from unlimited. Else it is taken to have
    done so with the next event, or `eagerly` as soon as it was due, and in any case before an older plan came that is
    recorded as superseded.
    """
    told = _with_found(history, rules, found or {})
    return _fold(history, replace(rules, first_plan_age_months_max=0), told, eager=eagerly)


def has_same_effect(one: Change, other: Change) -> bool:
    """Whether two balance changes say the same to the ledger and to others."""
    return _effect(one) == _effect(other)


def _effect(change: Change) -> tuple[object, ...]:
    return (
        change.sequence,
        list(change.lines),
        change.previous_balance,
        change.balance,
        change.reason,
        change.cause.position,
        change.refunds_sequence,
        change.period_ends_at,
        change.occurred_at,
        change.recorded_at,
    )


@dataclass(slots=True)
class ReplayStep:
    """One decision to be made again."""

    position: int
    decided_at: datetime
    key: bytes
    item: Incoming | Wake | Command
    as_it_stands: bool = False


def _with_found(history: History, rules: Rules, found: Mapping[int, Incoming]) -> list[ReplayStep]:
    """All to be folded. Each event is given for its append time when an account begins whose first plan it is."""
    told = [
        ReplayStep(d.position, d.decided_at, d.key, _input(history, d), d.as_it_stands)
        for d in history.decisions.values()
    ]
    for position, incoming in found.items():
        decided_at = _decided_at(history, position, incoming)
        item = replace(incoming, appended_at=begins_at(incoming, decided_at, rules.first_plan_age_months_max))
        told.append(ReplayStep(position, decided_at, incoming.key, item))
    told.sort(key=attrgetter("position"))
    return told


def _decided_at(history: History, position: int, incoming: Incoming) -> datetime:
    """When a decision that is missing was made: as its entries say, else with the one before it."""
    if (recorded_at := _recorded_at(history, position)) is not None:
        return recorded_at
    near = history.decisions.get(position - 1) or history.decisions.get(position + 1)
    return near.decided_at if near else incoming.occurred_at


def _recorded_at(history: History, position: int) -> datetime | None:
    """When its first entry was; None for a plan that took effect only later, since its entries came then."""
    first = next((change for change in history.changes.values() if change.cause.position == position), None)
    after = history.decisions.get(position + 1)
    if first is None or (after is not None and after.decided_at < first.recorded_at):
        return None
    return first.recorded_at


def is_time_known(history: History, position: int) -> bool:
    """Whether it is certain when a decision that is missing was made: by its entries, or by a batch it was amidst."""
    before, after = history.decisions.get(position - 1), history.decisions.get(position + 1)
    is_amidst = before is not None and after is not None and before.decided_at == after.decided_at
    return is_amidst or _recorded_at(history, position) is not None


def _fold(history: History, rules: Rules, told: Sequence[ReplayStep], *, eager: bool) -> Recomputed:
    account = Account(history.account_id)
    recomputed = Recomputed(account)
    for (decided_at, _), group in groupby(told, key=_batch):
        batch = list(group)
        _run_recorded_timers(history, recomputed, rules, decided_at)
        for item in [one.item for one in batch if _is_recorded_as_superseded(history, one)]:
            _run_plans_due(recomputed, rules, decided_at, item)
        if eager and _only_a_plan_is_due(account, decided_at - SWEEP_SECONDS):
            _step(recomputed, [Wake(history.account_id, decided_at - SWEEP_SECONDS, ALL_TIMERS)], decided_at, rules)
        expected = {one.key: one.position for one in batch}
        first = account.position + 1
        of_batch = replace(rules, turns=False) if batch[0].as_it_stands else rules
        _step(recomputed, [one.item for one in batch], decided_at, of_batch, expected)
        if recomputed.stopped_at is None and account.position != batch[-1].position:
            told_of = {one.position for one in batch}
            lost = (position for position in range(first, batch[-1].position) if position not in told_of)
            recomputed.stopped_at = next(lost, batch[0].position)
        if recomputed.stopped_at is not None:
            return recomputed
    _run_recorded_timers(history, recomputed, rules, None)
    in_force = history.standing.plan_position
    for plan in [plan for plan in account.pending if plan.cause.position == in_force]:
        _step(recomputed, [Wake(history.account_id, plan.effective_at, ALL_TIMERS)], plan.effective_at, rules)
    if account.position < history.standing.position:
        recomputed.stopped_at = account.position + 1
    return recomputed


def _batch(told: ReplayStep) -> tuple[datetime, int]:
    """What was decided at one instant was one batch, in which no person's order comes with anything else."""
    is_ordered = isinstance(told.item, Command) or told.as_it_stands
    return told.decided_at, told.position if is_ordered else 0


def _run_recorded_timers(history: History, recomputed: Recomputed, rules: Rules, before: datetime | None) -> None:
    """A plan that took effect by itself leaves no decision, but its entry says when."""
    account = recomputed.account
    while (change := history.changes.get(account.sequence + 1)) is not None:
        is_due = account.next_timer_at is not None and account.next_timer_at <= change.occurred_at
        if not is_due or not account.pending or (before is not None and change.recorded_at >= before):
            return
        sequence = account.sequence
        _step(recomputed, [Wake(account.account_id, change.occurred_at, ALL_TIMERS)], change.recorded_at, rules)
        if account.sequence == sequence:
            return


def _run_plans_due(recomputed: Recomputed, rules: Rules, now: datetime, superseded: Incoming | Wake | Command) -> None:
    """As few as it takes for a plan to be superseded, and none past something that is recorded."""
    account, before = recomputed.account, None
    while not _would_be_superseded(account, superseded):
        at = account.next_timer_at
        if at is None or at == before or at > now or not _is_of_plans_alone(account, at):
            return
        _step(recomputed, [Wake(account.account_id, at, ALL_TIMERS)], now, rules)
        before = at


def _would_be_superseded(account: Account, item: Incoming | Wake | Command) -> bool:
    """By a plan that is in force, or due when it occurred; of those of one order the position decides, and none has."""
    if not isinstance(item, Incoming) or not isinstance(item.data, PlanChanged):
        return True
    order = item.data.effective_at or item.occurred_at, item.occurred_at
    due = account.plans_due(item.occurred_at)
    return any(order < plan.order[:2] for plan in (account.plan, *due) if plan is not None)


def _is_of_plans_alone(account: Account, at: datetime) -> bool:
    is_turn = account.period is None or account.period.ends_at == at
    return not is_turn and all(grant.expires_at != at for grant in account.grants.values())


def _is_recorded_as_superseded(history: History, told: ReplayStep) -> bool:
    decision = history.decisions.get(told.position)
    return decision is not None and decision.outcome == "plan-superseded"


def _only_a_plan_is_due(account: Account, at: datetime) -> bool:
    due = [plan.effective_at for plan in account.plans_due(at)]
    if not due or account.next_timer_at != min(due) or account.period is None:
        return False
    ends = [grant.expires_at for grant in account.grants.values() if grant.expires_at is not None]
    return all(end > at for end in [*ends, account.period.ends_at])


def _step(
    recomputed: Recomputed,
    inputs: Sequence[Incoming | Wake | Command],
    now: datetime,
    rules: Rules,
    expected: Mapping[bytes, int] | None = None,
) -> None:
    """One batch. Where a decision does not come to the position that is `expected` for its key, one is missing."""
    account = recomputed.account
    out = decide({account.account_id: account}, inputs, now, rules)
    for decision in out.decisions:
        if expected is not None and expected.get(decision.key, decision.position) != decision.position:
            recomputed.stopped_at = decision.position
            return
        recomputed.decisions[decision.position] = decision
    recomputed.changes.update((change.sequence, change) for change in out.changes)
    recomputed.grants.update(account.unstored.new_grants)
    _begin_next_batch(account, out)


def _begin_next_batch(account: Account, out: Decided) -> None:
    """What storing and loading comes to."""
    account.mark_stored()
    for request in out.requests:
        account.put_request(request)
    for _, charge_sequence in out.requests_overtaken:
        request = account.requests[charge_sequence]
        if request.status == "waiting":
            account.put_request(replace(request, status="overtaken"))


def _input(history: History, decision: Decision) -> Incoming | Wake | Command:
    if decision.source != SERVICE_SOURCE:
        data = _data(history, decision)
        place = decision.place or NOWHERE
        return Incoming(
            history.account_id,
            decision.key,
            decision.content,
            decision.source,
            decision.id,
            decision.type,
            decision.occurred_at,
            data,
            place,
            began_at(decision.note) or decision.occurred_at,
        )
    if decision.type in TIMERS:
        return Wake(history.account_id, decision.occurred_at, ALL_TIMERS)
    command_type: CommandType = decision.type  # type: ignore[assignment] # the decisions of commands have no other
    return Command(
        history.account_id, decision.key, decision.content, decision.id, command_type, _command(history, decision)
    )


def _data(history: History, decision: Decision) -> IncomingData:
    """What the event said, as far as rules ask for it. Nothing is validated once more: it was."""
    name, prospect_id = history.account_id, decision.prospect_id or ""
    if (of_prospect := _OF_A_PROSPECT.get(decision.type)) is not None:
        return of_prospect.model_construct(account_id=name, prospect_id=prospect_id)
    if decision.type == PLAN_CHANGED:
        return _plan_changed(history, decision)
    if decision.type == "credits-purchased":
        return _purchased(history, decision)
    if decision.type == "email-bounced":
        hard = EmailBounced.model_construct(account_id=name, prospect_id=prospect_id, bounce_type="hard")
        if decision.outcome != "no-effect" or content_of(decision.type, hard) == decision.content:
            return hard
        return EmailBounced.model_construct(account_id=name, prospect_id=prospect_id, bounce_type="soft")
    wrong = ProspectStageChanged.model_construct(account_id=name, prospect_id=prospect_id, stage=WRONG_EMAIL)
    if decision.outcome != "no-effect" or content_of(decision.type, wrong) == decision.content:
        return wrong
    return ProspectStageChanged.model_construct(account_id=name, prospect_id=prospect_id, stage="")


def _plan_changed(history: History, decision: Decision) -> PlanChanged:
    plan = history.plans.get(decision.position)
    if plan is None:
        raise LookupError(f"the plan of decision {decision.position} is not there")
    standing = history.standing
    return PlanChanged.model_construct(
        account_id=history.account_id,
        plan_id=plan.plan_id,
        monthly_credits=plan.monthly_credits,
        seats=plan.seats,
        email_accounts=plan.email_accounts,
        effective_at=plan.effective_at,
        billing_anchor_at=standing.anchor_at,
        time_zone=standing.time_zone,
    )


def _purchased(history: History, decision: Decision) -> CreditsPurchased:
    purchase_id = history.purchases.get(decision.position)
    if purchase_id is None:
        # Counted before under another id, whichever that was.
        purchase_id = next(iter(history.purchases.values()), "")
        return CreditsPurchased.model_construct(account_id=history.account_id, purchase_id=purchase_id, credits=1)
    grant = _grant_of(history, decision)
    return CreditsPurchased.model_construct(
        account_id=history.account_id,
        purchase_id=purchase_id,
        credits=grant.amount if grant else 0,
        expires_at=grant.expires_at if grant else None,
    )


def _grant_of(history: History, decision: Decision) -> Grant | None:
    return next((grant for grant in history.grants.values() if grant.position == decision.position), None)


def _command(history: History, decision: Decision) -> CommandData:
    position = decision.position
    if decision.type in ("refund-approved", "refund-rejected"):
        request = history.requests[position]
        return DecideRefund(
            request.charge_sequence, decision.type == "refund-approved", request.operator, request.reason
        )
    if decision.type == "adjustment":
        made = history.adjustments[position]
        return Adjust(made.amount, made.expires_at, made.operator, made.reason)
    if decision.prospect_id is not None:
        return OpenProspect(decision.prospect_id, ORIGIN_OF[f"prospect-{decision.note}"])
    grant = _grant_of(history, decision)
    remaining = grant.amount if grant else 0
    if position in history.purchases:
        return OpenPurchase(history.purchases[position], remaining, grant.expires_at if grant else None)
    plan, standing = history.plans[position], history.standing
    if standing.anchor_at is None or standing.time_zone is None:
        raise LookupError("an account that was opened has no calendar")
    return OpenAccount(
        plan.plan_id,
        plan.monthly_credits,
        plan.seats,
        plan.email_accounts,
        standing.anchor_at,
        standing.time_zone,
        remaining,
    )


def positions_missing(history: History) -> Iterator[int]:
    """The positions that have no decision, up to the last one given."""
    last = max([history.standing.position, *history.decisions])
    return (position for position in range(1, last + 1) if position not in history.decisions)


def sums(history: History) -> Iterable[str]:
    """Where the balance, the entries and the grants do not add up, in words; needs no rules."""
    entries = sum(change.delta for change in history.changes.values())
    held = sum(grant.remaining for grant in history.grants.values() if grant.is_open)
    if not history.standing.balance == entries == held:
        yield f"balance {history.standing.balance}, entries {entries}, open grants {held}"
