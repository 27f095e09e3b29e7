"""Answers of the read API from the ledger in memory."""

from credit_service.application.queries import (
    AccountSnapshot,
    CurrentPeriod,
    DecidedEvent,
    OpenGrant,
    ParkedEvent,
    PlanInForce,
    ReadPlace,
)
from credit_service.domain.decision import Decision
from credit_service.domain.event import Place
from credit_service.domain.grant import Grant, burn_order
from credit_service.domain.idempotency import key_of
from credit_service.domain.plan import Plan
from credit_service.testing.memory import MemoryLedger, ParkedInMemory


def account_shown(ledger: MemoryLedger, account_id: str) -> AccountSnapshot | None:
    """See `application.queries.Reads.account`."""
    kept = ledger.accounts.get(account_id)
    if kept is None:
        return None
    row = kept.row
    period = row.period
    return AccountSnapshot(
        account_id=account_id,
        balance=row.published_balance,
        unlimited=row.unlimited,
        sequence=row.sequence,
        plan=_plan(row.plan) if row.plan else None,
        period=CurrentPeriod(starts_at=period.starts_at, ends_at=period.ends_at) if period else None,
        grants=[_grant(grant) for grant in sorted(row.grants.values(), key=burn_order)],
        declined_in_period=row.declined_in_period,
    )


def event_shown(ledger: MemoryLedger, account_id: str, source: str, event_id: str) -> DecidedEvent | ParkedEvent | None:
    """See `application.queries.Reads.event`."""
    kept, key = ledger.accounts.get(account_id), key_of(source, event_id)
    if kept is None:
        return None
    if key in kept.parked:
        return _parked(kept.parked[key])
    return _decided(kept.decisions[key]) if key in kept.decisions else None


def _plan(plan: Plan) -> PlanInForce:
    return PlanInForce(
        plan_id=plan.plan_id,
        monthly_credits=plan.monthly_credits,
        seats=plan.seats,
        email_accounts=plan.email_accounts,
    )


def _grant(grant: Grant) -> OpenGrant:
    return OpenGrant(
        grant_id=grant.grant_id,
        origin=grant.origin,
        amount=grant.amount,
        remaining=grant.remaining,
        effective_at=grant.effective_at,
        expires_at=grant.expires_at,
    )


def _decided(decision: Decision) -> DecidedEvent:
    return DecidedEvent(
        account_id=decision.account_id,
        source=decision.source,
        id=decision.id,
        type=decision.type,
        occurred_at=decision.occurred_at,
        outcome=decision.outcome,
        position=decision.position,
        decided_at=decision.decided_at,
        prospect_id=decision.prospect_id,
        declined_in_period=decision.declined_in_period,
        note=decision.note,
        place=_place(decision.type, decision.place) if decision.place else None,
    )


def _parked(parked: ParkedInMemory) -> ParkedEvent:
    incoming = parked.incoming
    return ParkedEvent(
        account_id=incoming.account_id,
        source=incoming.source,
        id=incoming.id,
        type=incoming.type,
        occurred_at=incoming.occurred_at,
        parked_at=parked.parked_at,
        place=_place(incoming.type, incoming.place),
    )


def _place(event_type: str, place: Place) -> ReadPlace:
    return ReadPlace(topic=event_type, partition=place.partition, offset=place.offset)
