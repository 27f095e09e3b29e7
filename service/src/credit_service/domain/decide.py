"""The fold: accounts as loaded, and events in order, become decisions, balance changes and changed accounts."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Literal, assert_never

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
from credit_service.domain.account import Account
from credit_service.domain.adjustment import adjust, refuse_adjustment
from credit_service.domain.batch import NOTHING_GIVEN_UP, Batch, GivenUp
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
from credit_service.domain.refund_request import decide_request, refuse_decision
from credit_service.domain.room import is_full, let_rest
from credit_service.domain.rules import Rules
from credit_service.domain.timers import run_timers, run_timers_before


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
    batch = Batch(now, rules, given_up)
    for item in inputs:
        account = accounts[item.account_id]
        if isinstance(item, Wake):
            _wake(account, item, batch)
        elif isinstance(item, Command):
            answer = _obey(account, item, batch)
            batch.out.answers.append(answer)
            if item.type == OPENING:
                has_opened = answer.is_new and answer.outcome == "opened"
                hold_back(account, leaves_open=item.leaves_open, has_opened=has_opened, now=now)
        else:
            _take(account, item, batch)
    forget_passed_through(batch)
    return batch.out


def _wake(account: Account, wake: Wake, batch: Batch) -> None:
    """What waits comes first and brings its own timers about; none may overtake it."""
    if is_full(account):
        let_rest(account)
        return
    _unpark(account, batch)
    if not account.is_queued_for:
        run_timers(account, wake.up_to, batch, timers_max=wake.timers_max)


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


def _take(account: Account, incoming: Incoming, batch: Batch) -> None:
    screened = screen(account, incoming, batch.now)
    if screened == "duplicate":
        batch.out.duplicates.append(incoming)
        return
    if screened is not None:
        batch.out.refused.append(Refused(incoming, screened))
        return
    if is_full(account):
        batch.out.refused.append(Refused(incoming, "account-full"))
        return
    is_first_plan = not account.has_started and isinstance(incoming.data, PlanChanged)
    if is_first_plan:
        _apply(account, incoming, batch)
        _unpark(account, batch)
    elif not account.has_started or account.is_queued_for:
        park(account, incoming, batch)
    else:
        _apply(account, incoming, batch)


def _unpark(account: Account, batch: Batch) -> None:
    def apply(incoming: Incoming) -> None:
        _apply(account, incoming, batch)

    unpark(account, apply, batch)


def _apply(account: Account, incoming: Incoming, batch: Batch) -> None:
    """Decides one event that is new; the account's timers up to its time come about first."""
    is_plan = incoming.type == PLAN_CHANGED
    # A plan that takes effect on a renewal's very instant comes into it, not after it.
    if is_plan and batch.rules.turns:
        run_timers_before(account, incoming.occurred_at, batch)
    elif batch.rules.turns:
        run_timers(account, incoming.occurred_at, batch)
    cause, decision = _begin(account, incoming, incoming.source, incoming.occurred_at, incoming.place, batch)
    decision.as_it_stands = not batch.rules.turns
    decision.outcome, decision.note = _outcome(account, incoming, cause, batch)
    if decision.outcome == "declined":
        decision.declined_in_period = account.declined_in_period
        decision.period_ends_at = account.period.ends_at if account.period else None
    if is_plan and batch.rules.turns:
        run_timers(account, incoming.occurred_at, batch)


def _obey(account: Account, command: Command, batch: Batch) -> Answer:
    """Decides one command, as of `now`; one that was obeyed before has the same answer again."""
    seen = account.decided.get(command.key)
    if seen is not None:
        return Answer(command, account.outcomes[command.key] if seen == command.content else "conflict", is_new=False)
    if is_full(account):
        return Answer(command, "account-full", is_new=True)
    if isinstance(command.data, DecideRefund | Adjust) and batch.rules.turns:
        # What waits comes first: it may refund what is asked about, or take what is given. Behind an opening it goes on
        # waiting, for the next sweep: the prospects that the account owns already are still to be opened.
        _unpark(account, batch)
    if isinstance(command.data, Adjust) and not account.is_queued_for and batch.rules.turns:
        # Not of credits that have lapsed by now.
        run_timers(account, batch.now, batch)
    refusal = refuse(account, command, batch.now)
    if refusal is not None:
        return Answer(command, refusal, is_new=True)
    if not account.is_queued_for and batch.rules.turns:
        run_timers(account, batch.now, batch)
    cause, decision = _begin(account, command, SERVICE_SOURCE, batch.now, None, batch)
    decision.as_it_stands = not batch.rules.turns
    match command.data:
        case DecideRefund() as data:
            decision.outcome = decide_request(account, data, cause, batch)
        case Adjust() as data:
            decision.outcome = adjust(account, data, cause, batch)
        case OpenAccount() as data:
            open_account(account, data, cause, batch)
        case OpenPurchase() as data:
            open_purchase(account, data, cause, batch)
        case OpenProspect() as data:
            decision.note = data.origin
            open_prospect(account, data, cause, batch)
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
    place: Place | None,
    batch: Batch,
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
        batch.now,
        place,
        prospect_id,
    )
    batch.out.decisions.append(decision)
    account.decided[item.key] = item.content
    return Cause(account.position, source, item.id, item.type, occurred_at, prospect_id), decision


def _prospect_id(account: Account, item: Incoming | Command) -> str | None:
    if isinstance(item.data, DecideRefund):
        return account.requests[item.data.charge_sequence].prospect_id
    # Asking each class in turn would take longer than most rules.
    prospect_id: str | None = getattr(item.data, "prospect_id", None)
    return prospect_id


def _outcome(account: Account, incoming: Incoming, cause: Cause, batch: Batch) -> tuple[Outcome, str | None]:
    """The rule that each kind of event falls under."""
    match incoming.data:
        case ProspectGenerated(prospect_id=prospect_id) | ProspectExported(prospect_id=prospect_id):
            return bring_onto_account(account, prospect_id, cause, batch), None
        case EmailBounced(bounce_type="soft"):
            return "no-effect", None
        case EmailBounced(prospect_id=prospect_id):
            return bounce_email(account, prospect_id, cause, batch), None
        case PlanChanged() as data:
            return change_plan(account, incoming, data, cause, batch)
        case CreditsPurchased() as data:
            return add_purchase(account, data, cause, batch)
        case ProspectImported(prospect_id=prospect_id):
            return import_prospect(account, prospect_id, cause, batch), None
        case ProspectDeleted(prospect_id=prospect_id):
            return delete_prospect(account, prospect_id, cause, batch), None
        case ProspectStageChanged(prospect_id=prospect_id, stage=stage) if stage == WRONG_EMAIL:
            return report_wrong_email(account, prospect_id, cause, batch), None
        case ProspectTransferred() | ProspectStageChanged():
            return "no-effect", None
        case unreachable:
            assert_never(unreachable)
