"""The fold: accounts as loaded, and events in order, become decisions, balance changes and changed accounts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import assert_never

from credit_contracts.incoming import EmailBounced, PlanChanged, ProspectExported, ProspectGenerated
from credit_contracts.outgoing import SERVICE_SOURCE
from credit_service.domain.account import Account
from credit_service.domain.charge import bring_onto_account
from credit_service.domain.decision import Cause, Decided, Decision, Incoming, Outcome, Refused, Wake
from credit_service.domain.parking import forget_passed_through, park, unpark
from credit_service.domain.plan_change import change_plan
from credit_service.domain.refund import LateRefund, refund_bounce
from credit_service.domain.timers import bring_about, bring_about_before

AHEAD_MAX = timedelta(minutes=5)
"""How far an event's time may lie ahead of the database's clock."""

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Rules:
    """What a deployment may choose. `unparked_max`: parked events that one batch decides for one account."""

    late_refund: LateRefund = field(default_factory=LateRefund)
    unparked_max: int = 1_000


def decide(accounts: Mapping[str, Account], inputs: Iterable[Incoming | Wake], now: datetime, rules: Rules) -> Decided:
    """Folds `inputs`, in their order, into `accounts`, which are changed in place.

    Every account named by an input must be in `accounts`, loaded with what its inputs ask for. The same key again has
    no second effect; the same key with other content, and what cannot be decided, comes back as refused.
    """
    out = Decided()
    for item in inputs:
        account = accounts[item.account_id]
        if isinstance(item, Wake):
            _wake(account, item, now, rules, out)
        else:
            _take(account, item, now, rules, out)
    forget_passed_through(out)
    return out


def _wake(account: Account, wake: Wake, now: datetime, rules: Rules, out: Decided) -> None:
    """What waits comes first and brings its own timers about; none may overtake it."""
    _unpark(account, now, rules, out)
    if not account.parked:
        bring_about(account, wake.up_to, now, out, timers_max=wake.timers_max)


def _take(account: Account, incoming: Incoming, now: datetime, rules: Rules, out: Decided) -> None:
    # Its ids are those of timers to come: who could take one of them could stop a renewal.
    if incoming.source == SERVICE_SOURCE:
        out.refused.append(Refused(incoming, "reserved-source"))
        return
    seen = account.decided.get(incoming.key) or account.parked_keys.get(incoming.key)
    if seen is not None:
        if seen == incoming.content:
            out.duplicates += 1
        else:
            out.refused.append(Refused(incoming, "conflict"))
        return
    if incoming.occurred_at > now + AHEAD_MAX:
        out.refused.append(Refused(incoming, "from-the-future"))
        return
    if incoming.occurred_at < EARLIEST:
        out.refused.append(Refused(incoming, "before-1970"))
        return
    is_first_plan = not account.has_started and isinstance(incoming.data, PlanChanged)
    if is_first_plan:
        _apply(account, incoming, now, rules, out)
        _unpark(account, now, rules, out)
    elif not account.has_started or account.parked:
        park(account, incoming, out)
    else:
        _apply(account, incoming, now, rules, out)


def _unpark(account: Account, now: datetime, rules: Rules, out: Decided) -> None:
    unpark(account, lambda i: _apply(account, i, now, rules, out), out, events_max=rules.unparked_max)


def _apply(account: Account, incoming: Incoming, now: datetime, rules: Rules, out: Decided) -> None:
    """Decides one event that is new; the account's timers up to its time come about first."""
    data = incoming.data
    # A plan that takes effect on a renewal's very instant comes into it, not after it.
    if isinstance(data, PlanChanged):
        bring_about_before(account, incoming.occurred_at, now, out)
    else:
        bring_about(account, incoming.occurred_at, now, out)
    account.position += 1
    prospect_id = None if isinstance(data, PlanChanged) else data.prospect_id
    cause = Cause(account.position, incoming.source, incoming.id, incoming.type, incoming.occurred_at, prospect_id)
    decision = Decision(
        account.account_id,
        account.position,
        incoming.key,
        incoming.content,
        incoming.source,
        incoming.id,
        incoming.type,
        "no-effect",
        incoming.occurred_at,
        now,
        incoming.place,
        prospect_id,
    )
    out.decisions.append(decision)
    account.decided[incoming.key] = incoming.content
    decision.outcome, decision.note = _outcome(account, incoming, cause, now, rules, out)
    if decision.outcome == "declined":
        decision.declined_in_period = account.declined_in_period
        decision.period_ends_at = account.period.ends_at if account.period else None
    if isinstance(data, PlanChanged):
        bring_about(account, incoming.occurred_at, now, out)


def _outcome(
    account: Account, incoming: Incoming, cause: Cause, now: datetime, rules: Rules, out: Decided
) -> tuple[Outcome, str | None]:
    """The rule that each kind of event falls under."""
    match incoming.data:
        case ProspectGenerated(prospect_id=prospect_id):
            return bring_onto_account(account, prospect_id, "generated", cause, now, rules.late_refund, out), None
        case ProspectExported(prospect_id=prospect_id):
            return bring_onto_account(account, prospect_id, "exported", cause, now, rules.late_refund, out), None
        case EmailBounced(bounce_type="soft"):
            return "no-effect", None
        case EmailBounced(prospect_id=prospect_id):
            return refund_bounce(account, prospect_id, cause, now, rules.late_refund, out), None
        case PlanChanged() as data:
            return change_plan(account, incoming, data, cause, now, out)
        case unreachable:
            assert_never(unreachable)
