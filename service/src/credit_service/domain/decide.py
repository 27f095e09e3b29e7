"""Decides events, timers and commands: the one way on which anything changes an account.

Read this file first. `decide` folds its inputs into the accounts, in their order, and returns what it decided:

- An event (`Incoming`) is a duplicate, refused, parked or applied. Applying runs the timers that are due before the
  event, numbers the decision, and hands the event to its rule, which `_outcome` names.
- A `Wake` decides events that are parked, and runs the timers that are due.
- A `Command` of an operator is refused, or decided as of now by its rule in `_execute`.

A rule is a function of the account, its subject, the cause and the batch. It changes the account by the account's own
methods, and adds its results to `batch.out`.
"""

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
    CommandData,
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
    open_account,
    open_prospect,
    open_purchase,
    refuse_opening,
    track_opening,
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
from credit_service.domain.room import is_full
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

    `accounts` has every account that an input names, loaded with the rows that its inputs need. An event that repeats a
    key has no second effect; with other content it is refused, and so is an event that cannot be decided. Each command
    gets an answer. Raises `ParkedFailed`: the accounts are then unusable, and the failed event is to be `given_up`.
    """
    batch = Batch(now, rules, given_up)
    for item in inputs:
        account = accounts[item.account_id]
        if isinstance(item, Incoming):
            _take(account, item, batch)
        elif isinstance(item, Wake):
            _wake(account, item, batch)
        else:
            answer = _execute(account, item, batch)
            batch.out.answers.append(answer)
            if item.type == OPENING:
                has_opened = answer.is_new and answer.outcome == "opened"
                track_opening(account, leaves_open=item.leaves_open, has_opened=has_opened, now=now)
    forget_passed_through(batch)
    return batch.out


def _take(account: Account, incoming: Incoming, batch: Batch) -> None:
    """Refuses, parks or applies one event."""
    reason = skip_reason(account, incoming, batch.now)
    if reason == "duplicate":
        batch.out.duplicates.append(incoming)
    elif reason is not None:
        batch.out.refused.append(Refused(incoming, reason))
    elif is_full(account):
        batch.out.refused.append(Refused(incoming, "account-full"))
    elif account.has_started and not account.queues_new_events:
        _apply(account, incoming, batch)
    elif not account.has_started and isinstance(incoming.data, PlanChanged):
        _apply(account, incoming, batch)
        _unpark(account, batch)
    else:
        park(account, incoming, batch)


def skip_reason(account: Account, incoming: Incoming, now: datetime) -> Refusal | Literal["duplicate"] | None:
    """Why the rules do not see the event: it is a duplicate, or refused; None if they see it."""
    # The ids of this source are those of future timers: an event that took one would stop a renewal.
    if incoming.source == SERVICE_SOURCE:
        return "reserved-source"
    seen = account.decided.get(incoming.key) or account.parked_keys.get(incoming.key)
    if seen is not None:
        return "duplicate" if seen == incoming.content else "conflict"
    # The broker's time counts as well: waiting in a topic must not make an event acceptable.
    came_at = now if incoming.appended_at is None else min(now, incoming.appended_at)
    if incoming.occurred_at > came_at + AHEAD_MAX:
        return "from-the-future"
    if incoming.occurred_at < EARLIEST:
        return "before-1970"
    return None


def _apply(account: Account, incoming: Incoming, batch: Batch) -> None:
    """Decides one new event, after the account's timers up to its time."""
    runs_timers = batch.rules.runs_timers
    is_plan = incoming.type == PLAN_CHANGED
    # A plan that takes effect at the instant of a renewal is part of that renewal.
    if is_plan and runs_timers:
        run_timers_before(account, incoming.occurred_at, batch)
    elif runs_timers:
        run_timers(account, incoming.occurred_at, batch)
    # Matching each class in turn would take longer than most rules.
    prospect_id: str | None = getattr(incoming.data, "prospect_id", None)
    cause, decision = _begin(
        account, incoming, incoming.source, incoming.occurred_at, incoming.place, prospect_id, batch
    )
    decision.outcome, decision.note = _outcome(account, incoming, cause, batch)
    if decision.outcome == "declined":
        decision.declined_in_period = account.declined_in_period
        decision.period_ends_at = account.period.ends_at if account.period else None
    if is_plan and runs_timers:
        run_timers(account, incoming.occurred_at, batch)


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


def _wake(account: Account, wake: Wake, batch: Batch) -> None:
    """Decides parked events, which run the timers before them; then runs the timers that are due."""
    if is_full(account):
        account.stop_timers()
        return
    _unpark(account, batch)
    if not account.queues_new_events:
        run_timers(account, wake.up_to, batch, timers_max=wake.timers_max)


def _unpark(account: Account, batch: Batch) -> None:
    def apply(incoming: Incoming) -> None:
        _apply(account, incoming, batch)

    unpark(account, apply, batch)


def _execute(account: Account, command: Command, batch: Batch) -> Answer:
    """Decides one command as of now; a command that is repeated gets the same answer again."""
    seen = account.decided.get(command.key)
    if seen is not None:
        return Answer(command, account.outcomes[command.key] if seen == command.content else "conflict", is_new=False)
    if is_full(account):
        return Answer(command, "account-full", is_new=True)
    runs_timers = batch.rules.runs_timers
    if isinstance(command.data, DecideRefund | Adjust) and runs_timers:
        # Parked events come first: they may refund the charge in question, or spend the credits. While the account is
        # being opened they stay parked until a later sweep, since its prospects are not all known yet.
        _unpark(account, batch)
    if isinstance(command.data, Adjust) and not account.queues_new_events and runs_timers:
        # Credits that have lapsed by now cannot be taken.
        run_timers(account, batch.now, batch)
    refusal = refuse(account, command, batch.now)
    if refusal is not None:
        return Answer(command, refusal, is_new=True)
    if not account.queues_new_events and runs_timers:
        run_timers(account, batch.now, batch)
    prospect_id = _prospect_id(account, command.data)
    cause, decision = _begin(account, command, SERVICE_SOURCE, batch.now, None, prospect_id, batch)
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
    account.note_outcome(command.key, decision.outcome)
    return Answer(command, decision.outcome, is_new=True)


def refuse(account: Account, command: Command, now: datetime) -> CommandRefusal | None:
    """Why a new command has no effect in the account's present state; None if it has one."""
    if isinstance(command.data, DecideRefund | Adjust) and account.opening_since is not None:
        return "being-opened"
    if isinstance(command.data, DecideRefund):
        return refuse_decision(account, command.data)
    if isinstance(command.data, Adjust):
        return refuse_adjustment(account, command.data, now)
    return refuse_opening(account, command.data, now)


def _prospect_id(account: Account, data: CommandData) -> str | None:
    match data:
        case DecideRefund():
            return account.requests[data.charge_sequence].prospect_id
        case OpenProspect():
            return data.prospect_id
        case _:
            return None


def _begin(
    account: Account,
    item: Incoming | Command,
    source: str,
    occurred_at: datetime,
    place: Place | None,
    prospect_id: str | None,
    batch: Batch,
) -> tuple[Cause, Decision]:
    """Numbers the decision; the rule sets its outcome."""
    position = account.number_decision(item.key, item.content)
    decision = Decision(
        account.account_id,
        position,
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
    if not batch.rules.runs_timers:
        decision.as_it_stands = True
    batch.out.decisions.append(decision)
    return Cause(position, source, item.id, item.type, occurred_at, prospect_id), decision
