"""The recorded history of an account as inputs of `decide`: one step for each decision."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
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
from credit_service.domain.audit.history import History, first_recorded_at
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
from credit_service.domain.decision import Decision
from credit_service.domain.event import PLAN_CHANGED, Incoming, Place, Wake
from credit_service.domain.first_plan import began_at, begins_at
from credit_service.domain.grant import Grant
from credit_service.domain.idempotency import content_of
from credit_service.domain.prospect import ORIGIN_OF
from credit_service.domain.rules import Rules

ALL_TIMERS = 1_000_000
NOWHERE = Place("", 0, 0)
TIMERS = ("renewal", "expiry")
"""The types of the service's own decisions."""

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


@dataclass(slots=True)
class ReplayStep:
    """One decision to be made again: `item` decided at `decided_at`, which is to get the recorded position."""

    position: int
    decided_at: datetime
    key: bytes
    item: Incoming | Wake | Command
    as_it_stands: bool = False


def steps_of(history: History, rules: Rules, found: Mapping[int, Incoming]) -> list[ReplayStep]:
    """The steps of the recorded decisions and of the `found` messages, by position.

    The append time of an event is the time at which an account begins if the event is its first plan.
    """
    steps = [
        ReplayStep(d.position, d.decided_at, d.key, _input(history, d), d.as_it_stands)
        for d in history.decisions.values()
    ]
    for position, incoming in found.items():
        decided_at = _decided_at(history, position, incoming)
        item = replace(incoming, appended_at=begins_at(incoming, decided_at, rules.first_plan_age_months_max))
        steps.append(ReplayStep(position, decided_at, incoming.key, item))
    steps.sort(key=attrgetter("position"))
    return steps


def _decided_at(history: History, position: int, incoming: Incoming) -> datetime:
    """The time of a missing decision: that of its first entry, else that of the decision before it."""
    if (recorded_at := first_recorded_at(history, position)) is not None:
        return recorded_at
    near = history.decisions.get(position - 1) or history.decisions.get(position + 1)
    return near.decided_at if near else incoming.occurred_at


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
    """The data of the event, as far as the rules need it. It was validated when the event was read."""
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
        raise LookupError(f"the plan of decision {decision.position} is missing")
    return PlanChanged.model_construct(
        account_id=history.account_id,
        plan_id=plan.plan_id,
        monthly_credits=plan.monthly_credits,
        seats=plan.seats,
        email_accounts=plan.email_accounts,
        effective_at=plan.effective_at,
        billing_anchor_at=history.row.anchor_at,
        time_zone=history.row.time_zone,
    )


def _purchased(history: History, decision: Decision) -> CreditsPurchased:
    purchase_id = history.purchases.get(decision.position)
    if purchase_id is None:
        # A repeat of a purchase that was counted under another id: any known purchase id gives the same outcome.
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
        adjustment = history.adjustments[position]
        return Adjust(adjustment.amount, adjustment.expires_at, adjustment.operator, adjustment.reason)
    if decision.prospect_id is not None:
        return OpenProspect(decision.prospect_id, ORIGIN_OF[f"prospect-{decision.note}"])
    grant = _grant_of(history, decision)
    remaining = grant.amount if grant else 0
    if position in history.purchases:
        return OpenPurchase(history.purchases[position], remaining, grant.expires_at if grant else None)
    plan, row = history.plans[position], history.row
    if row.anchor_at is None or row.time_zone is None:
        raise LookupError("an account that was opened has no calendar")
    return OpenAccount(
        plan.plan_id,
        plan.monthly_credits,
        plan.seats,
        plan.email_accounts,
        row.anchor_at,
        row.time_zone,
        remaining,
    )
