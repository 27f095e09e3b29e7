"""The fold: accounts as loaded, and events in order, become decisions, balance changes and changed accounts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias, assert_never

from credit_contracts.incoming import (
    WRONG_EMAIL,
    CreditsPurchased,
    EmailBounced,
    PlanChanged,
    ProspectDeleted,
    ProspectExported,
    ProspectGenerated,
    ProspectImported,
    ProspectStageChanged,
    ProspectTransferred,
)
from credit_contracts.outgoing import SERVICE_SOURCE
from credit_service import bounds
from credit_service.domain.account import Account
from credit_service.domain.adjustment import adjust, refuse_adjustment
from credit_service.domain.command import (
    Adjust,
    Answer,
    Command,
    CommandRefusal,
    DecideRefund,
    OpenAccount,
    OpenProspect,
    OpenPurchase,
)
from credit_service.domain.decided import Decided
from credit_service.domain.decision import Decision, Outcome, Refusal, Refused
from credit_service.domain.event import AHEAD_MAX, EARLIEST, PLAN_CHANGED, Cause, Incoming, Place, Wake
from credit_service.domain.first_plan import AGE_MONTHS_MAX
from credit_service.domain.opening import (
    OPENING,
    hold_back,
    open_account,
    open_prospect,
    open_purchase,
    refuse_opening,
)
from credit_service.domain.parking import forget_passed_through, park, unpark
from credit_service.domain.plan_change import change_plan
from credit_service.domain.prospect_events import (
    bounce_email,
    bring_onto_account,
    delete_prospect,
    import_prospect,
    report_wrong_email,
)
from credit_service.domain.purchase import add_purchase
from credit_service.domain.refund import LateRefund
from credit_service.domain.refund_request import decide_request, refuse_decision
from credit_service.domain.room import is_full, let_rest
from credit_service.domain.timers import run_timers, run_timers_before


@dataclass(frozen=True, slots=True)
class Rules:
    """What a deployment may choose. `unparked_max`: parked events that one batch decides for one account.

    `first_plan_age_months_max`: how old a first plan's event may be when it is appended, for its month to be the first.
    Without `turns` what a person orders is decided as the account stands: no month turns, nothing expires before it.
    """

    late_refund: LateRefund = field(default_factory=LateRefund)
    unparked_max: int = field(default_factory=lambda: bounds.UNPARKED_PER_ACCOUNT_MAX)
    first_plan_age_months_max: int = AGE_MONTHS_MAX
    turns: bool = True


GivenUp: TypeAlias = Mapping[tuple[str, bytes], str]
"""Events that waited, and on which the rules failed before: by account and key, with the name of the error."""

NOTHING_GIVEN_UP: GivenUp = {}


def decide(
    accounts: Mapping[str, Account],
    inputs: Iterable[Incoming | Wake | Command],
    now: datetime,
    rules: Rules,
    given_up: GivenUp = NOTHING_GIVEN_UP,
) -> Decided:
    """Folds `inputs`, in their order, into `accounts`, which are changed in place.

    Every account named by an input must be in `accounts`, loaded with what its inputs ask for. The same key again has
    no second effect; the same key with other content, and what cannot be decided, comes back as refused. Each command
    has an answer. Raises `ParkedFailed`: the accounts are spoilt, and what failed is to be `given_up`.
    """
    out = Decided()
    for item in inputs:
        account = accounts[item.account_id]
        if isinstance(item, Wake):
            _wake(account, item, now, rules, given_up, out)
        elif isinstance(item, Command):
            answer = _obey(account, item, now, rules, given_up, out)
            out.answers.append(answer)
            if item.type == OPENING:
                has_opened = answer.is_new and answer.outcome == "opened"
                hold_back(account, leaves_open=item.leaves_open, has_opened=has_opened, now=now)
        else:
            _take(account, item, now, rules, given_up, out)
    forget_passed_through(out)
    return out


def _wake(account: Account, wake: Wake, now: datetime, rules: Rules, given_up: GivenUp, out: Decided) -> None:
    """What waits comes first and brings its own timers about; none may overtake it."""
    if is_full(account):
        let_rest(account)
        return
    _unpark(account, now, rules, given_up, out)
    if not account.is_queued_for:
        run_timers(account, wake.up_to, now, out, timers_max=wake.timers_max)


def screen(account: Account, incoming: Incoming, now: datetime) -> Refusal | Literal["duplicate"] | None:
    """Why the event has no effect whatever the rules say: the reason to refuse it, or that it was decided before."""
    # Its ids are those of timers to come: who could take one of them could stop a renewal.
    if incoming.source == SERVICE_SOURCE:
        return "reserved-source"
    seen = account.decided.get(incoming.key) or account.parked_keys.get(incoming.key)
    if seen is not None:
        return "duplicate" if seen == incoming.content else "conflict"
    # By the broker's time as well: what waited in a topic ends as it would have ended without the wait.
    came_at = now if incoming.appended_at is None else min(now, incoming.appended_at)
    if incoming.occurred_at > came_at + AHEAD_MAX:
        return "from-the-future"
    if incoming.occurred_at < EARLIEST:
        return "before-1970"
    return None


def _take(account: Account, incoming: Incoming, now: datetime, rules: Rules, given_up: GivenUp, out: Decided) -> None:
    screened = screen(account, incoming, now)
    if screened == "duplicate":
        out.duplicates.append(incoming)
        return
    if screened is not None:
        out.refused.append(Refused(incoming, screened))
        return
    if is_full(account):
        out.refused.append(Refused(incoming, "account-full"))
        return
    is_first_plan = not account.has_started and isinstance(incoming.data, PlanChanged)
    if is_first_plan:
        _apply(account, incoming, now, rules, out)
        _unpark(account, now, rules, given_up, out)
    elif not account.has_started or account.is_queued_for:
        park(account, incoming, out)
    else:
        _apply(account, incoming, now, rules, out)


def _unpark(account: Account, now: datetime, rules: Rules, given_up: GivenUp, out: Decided) -> None:
    def apply(incoming: Incoming) -> None:
        _apply(account, incoming, now, rules, out)

    unpark(account, apply, out, events_max=rules.unparked_max, given_up=given_up)


def _apply(account: Account, incoming: Incoming, now: datetime, rules: Rules, out: Decided) -> None:
    """Decides one event that is new; the account's timers up to its time come about first."""
    is_plan = incoming.type == PLAN_CHANGED
    # A plan that takes effect on a renewal's very instant comes into it, not after it.
    if is_plan and rules.turns:
        run_timers_before(account, incoming.occurred_at, now, out)
    elif rules.turns:
        run_timers(account, incoming.occurred_at, now, out)
    cause, decision = _begin(account, incoming, incoming.source, incoming.occurred_at, now, incoming.place, out)
    decision.as_it_stands = not rules.turns
    decision.outcome, decision.note = _outcome(account, incoming, cause, now, rules, out)
    if decision.outcome == "declined":
        decision.declined_in_period = account.declined_in_period
        decision.period_ends_at = account.period.ends_at if account.period else None
    if is_plan and rules.turns:
        run_timers(account, incoming.occurred_at, now, out)


def _obey(account: Account, command: Command, now: datetime, rules: Rules, given_up: GivenUp, out: Decided) -> Answer:
    """Decides one command, as of `now`; one that was obeyed before has the same answer again."""
    seen = account.decided.get(command.key)
    if seen is not None:
        return Answer(command, account.outcomes[command.key] if seen == command.content else "conflict", is_new=False)
    if is_full(account):
        return Answer(command, "account-full", is_new=True)
    if isinstance(command.data, DecideRefund | Adjust) and rules.turns:
        # What waits comes first: it may refund what is asked about, or take what is given. Behind an opening it goes on
        # waiting, for the next sweep: the prospects that the account owns already are still to be opened.
        _unpark(account, now, rules, given_up, out)
    if isinstance(command.data, Adjust) and not account.is_queued_for and rules.turns:
        # Not of credits that have lapsed by now.
        run_timers(account, now, now, out)
    refusal = refuse(account, command, now)
    if refusal is not None:
        return Answer(command, refusal, is_new=True)
    if not account.is_queued_for and rules.turns:
        run_timers(account, now, now, out)
    cause, decision = _begin(account, command, SERVICE_SOURCE, now, now, None, out)
    decision.as_it_stands = not rules.turns
    match command.data:
        case DecideRefund() as data:
            decision.outcome = decide_request(account, data, cause, now, rules.late_refund, out)
        case Adjust() as data:
            decision.outcome = adjust(account, data, cause, now, out)
        case OpenAccount() as data:
            open_account(account, data, cause, now, out)
        case OpenPurchase() as data:
            open_purchase(account, data, cause, now, out)
        case OpenProspect() as data:
            decision.note = data.origin
            open_prospect(account, data, cause, now, rules.late_refund, out)
        case unreachable:
            assert_never(unreachable)
    if command.type == OPENING:
        decision.outcome = "opened"
    account.outcomes[command.key] = decision.outcome
    return Answer(command, decision.outcome, is_new=True)


def refuse(account: Account, command: Command, now: datetime) -> CommandRefusal | None:
    """Why a command that is new has no effect, as the account stands; None if it has one."""
    if isinstance(command.data, DecideRefund | Adjust) and account.opening_since is not None:
        return "being-opened"
    if isinstance(command.data, DecideRefund):
        return refuse_decision(account, command.data)
    if isinstance(command.data, Adjust):
        return refuse_adjustment(account, command.data, now)
    return refuse_opening(account, command.data, now)


def _begin(
    account: Account,
    item: Incoming | Command,
    source: str,
    occurred_at: datetime,
    now: datetime,
    place: Place | None,
    out: Decided,
) -> tuple[Cause, Decision]:
    """Gives the decision its position; its outcome is still to be found."""
    account.position += 1
    prospect_id = _prospect_id(account, item)
    decision = Decision(
        account.account_id,
        account.position,
        item.key,
        item.content,
        source,
        item.id,
        item.type,
        "no-effect",
        occurred_at,
        now,
        place,
        prospect_id,
    )
    out.decisions.append(decision)
    account.decided[item.key] = item.content
    return Cause(account.position, source, item.id, item.type, occurred_at, prospect_id), decision


def _prospect_id(account: Account, item: Incoming | Command) -> str | None:
    if isinstance(item.data, DecideRefund):
        return account.requests[item.data.charge_sequence].prospect_id
    # Asking each class in turn would take longer than most rules.
    prospect_id: str | None = getattr(item.data, "prospect_id", None)
    return prospect_id


def _outcome(
    account: Account, incoming: Incoming, cause: Cause, now: datetime, rules: Rules, out: Decided
) -> tuple[Outcome, str | None]:
    """The rule that each kind of event falls under."""
    late_refund = rules.late_refund
    match incoming.data:
        case ProspectGenerated(prospect_id=prospect_id) | ProspectExported(prospect_id=prospect_id):
            return bring_onto_account(account, prospect_id, cause, now, late_refund, out), None
        case EmailBounced(bounce_type="soft"):
            return "no-effect", None
        case EmailBounced(prospect_id=prospect_id):
            return bounce_email(account, prospect_id, cause, now, late_refund, out), None
        case PlanChanged() as data:
            return change_plan(account, incoming, data, cause, now, rules.first_plan_age_months_max, out)
        case CreditsPurchased() as data:
            return add_purchase(account, data, cause, now, out)
        case ProspectImported(prospect_id=prospect_id):
            return import_prospect(account, prospect_id, cause, now, late_refund, out), None
        case ProspectDeleted(prospect_id=prospect_id):
            return delete_prospect(account, prospect_id, cause, now, late_refund, out), None
        case ProspectStageChanged(prospect_id=prospect_id, stage=stage) if stage == WRONG_EMAIL:
            return report_wrong_email(account, prospect_id, cause, now, late_refund, out), None
        case ProspectTransferred() | ProspectStageChanged():
            return "no-effect", None
        case unreachable:
            assert_never(unreachable)
