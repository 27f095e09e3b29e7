"""A backlog that lies past more turns of months than one transaction takes on ends as it would have live."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from credit_contracts.incoming import PlanChanged, ProspectGenerated
from support.reconciled import reconcile
from support.traffic import event

if TYPE_CHECKING:
    from credit_contracts.envelope import Event
    from credit_contracts.incoming import IncomingData
    from support.service import Deployment

# Two turns each: more than a transaction takes on, though all their messages fit into one batch.
ACCOUNTS = 1_200
MONTHS = 94
CHARGES_A_MONTH = 8
HOUR = timedelta(hours=1)


def latest_turn() -> datetime:
    """A few days ago, on a day that every month has."""
    turn = datetime.now(UTC).replace(microsecond=0) - timedelta(days=2)
    return turn.replace(day=min(turn.day, 28))


def months_before(turn: datetime, months: int) -> datetime:
    year, month = divmod(turn.year * 12 + turn.month - 1 - months, 12)
    return turn.replace(year=year, month=month + 1)


def plan(account: str, monthly_credits: int, at: datetime) -> Event[IncomingData]:
    return event(PlanChanged(account_id=account, plan_id="p", monthly_credits=monthly_credits), at)


def generated(account: str, prospect: str, at: datetime) -> Event[IncomingData]:
    return event(ProspectGenerated(account_id=account, prospect_id=prospect), at)


async def test_a_backlog_past_many_turns_is_decided_month_by_month(deployment: Deployment) -> None:
    """Of each account an early charge belongs before both turns; of one there are charges in each of many months."""
    await deployment.make_topics(partitions=1)
    turn = latest_turn()
    names = [f"account-{number}" for number in range(ACCOUNTS)]
    began = months_before(turn, MONTHS - 1)
    async with deployment.upstream() as upstream:
        await upstream.send([plan("of-years", CHARGES_A_MONTH, began)])
        await upstream.send([plan(name, 2, months_before(turn, 2)) for name in names])
        charges = [
            generated("of-years", f"{month}-{n}", months_before(turn, month) + (n + 1) * HOUR)
            for month in reversed(range(MONTHS))
            for n in range(CHARGES_A_MONTH)
        ]
        charges += [generated(name, "early", months_before(turn, 1) - HOUR) for name in names]
        charges += [generated(name, "late", turn + HOUR) for name in names]
        await upstream.send(sorted(charges, key=lambda one: one.time))
    service = await deployment.start(first_plan_age_months_max="1200")
    observed = await deployment.oracle().check(within_seconds=90)

    outcomes = Counter((d["account_id"] == "of-years", d["outcome"]) for d in observed.decisions if d["prospect_id"])
    assert outcomes == {(True, "charged"): MONTHS * CHARGES_A_MONTH, (False, "charged"): 2 * ACCOUNTS}
    balances = {account["account_id"]: account["balance"] for account in observed.accounts}
    assert balances == {"of-years": 0} | dict.fromkeys(names, 1)
    assert await service.terminate() == 0


async def test_first_plans_of_long_ago_turn_no_months(deployment: Deployment) -> None:
    """They begin in the month in which Kafka took them, which a reconciliation agrees with, whatever its setting."""
    await deployment.make_topics(partitions=1)
    names = [f"old-{number}" for number in range(300)]
    now = datetime.now(UTC)
    async with deployment.upstream() as upstream:
        await upstream.send([plan(name, 2, datetime(1970, 1, 1, tzinfo=UTC)) for name in names])
        await upstream.send([plan("of-today", 2, now - HOUR)])
        await upstream.send([generated(name, "ann", now - HOUR) for name in [*names, "of-today"]])
    service = await deployment.start()
    observed = await deployment.oracle().check(within_seconds=90)

    outcomes = Counter(d["outcome"] for d in observed.decisions)
    assert outcomes == {"plan-in-force": 301, "charged": 301}
    assert {account["balance"] for account in observed.accounts} == {1}
    for setting in (24, 1_200):
        run = await reconcile(deployment, first_plan_age_months_max=setting)
        assert run.findings == []
    assert await service.terminate() == 0
