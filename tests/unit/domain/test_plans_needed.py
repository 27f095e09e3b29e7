"""Plans are loaded only for accounts whose events may need them; the results do not change."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from credit_contracts.incoming import CreditsPurchased, PlanChanged, ProspectGenerated
from credit_service.domain.account import Account
from credit_service.domain.command import Adjust, Command, OpenProspect, command_of
from credit_service.domain.decide import decide
from credit_service.domain.event import Incoming, Wake
from credit_service.domain.period import Calendar
from credit_service.domain.rules import Rules
from credit_service.postgres.ledger.plans_needed import accounts_needing_parked, accounts_needing_plans
from support.domain import ACCOUNT, NOW, Story, event, time

if TYPE_CHECKING:
    from datetime import datetime

DUE = time("2026-02-01")


def generated(at: str) -> Incoming:
    return event(ProspectGenerated(account_id=ACCOUNT, prospect_id="ann"), time(at), f"generated {at}")


@pytest.mark.parametrize(
    ("item", "matter"),
    [
        (generated("2026-01-31 23:59:59"), False),
        (generated("2026-02-01"), True),
        (event(PlanChanged(account_id=ACCOUNT, plan_id="p", monthly_credits=1), time("2026-01-02"), "plan"), True),
        (Wake(ACCOUNT, time("2026-01-02"), 1), True),
    ],
)
def test_plans_matter_where_they_change_or_a_timer_may_be_due(item: Incoming | Wake, matter: bool) -> None:
    account = Account(ACCOUNT, next_timer_at=DUE)

    assert (accounts_needing_plans([account], [item]) == [account]) is matter
    assert (account.plans_unknown_until == DUE) is not matter


def test_plans_matter_where_events_that_wait_may_be_let_in() -> None:
    account = Account(ACCOUNT, next_timer_at=DUE, parked=1, waiting=[generated("2026-01-01")])

    assert accounts_needing_plans([account], [generated("2026-01-02")]) == [account]


def started(parked: int, opening_since: datetime | None = None) -> Account:
    calendar = Calendar(time("2026-01-01"), "UTC")
    account = Account(ACCOUNT, parked=parked, opening_since=opening_since)
    return replace(account, calendar=calendar, period=calendar.period(0), next_timer_at=DUE)


PLAN = event(PlanChanged(account_id=ACCOUNT, plan_id="p", monthly_credits=1), time("2026-01-02"), "plan")
ADJUST = command_of(ACCOUNT, Adjust(1, None, "ops", "a reason"), "a-1")
OPENED = command_of(ACCOUNT, OpenProspect("ann", "generated"))


@pytest.mark.parametrize(
    ("account", "item", "matter"),
    [
        (Account(ACCOUNT, parked=2), generated("2026-01-02"), False),
        (Account(ACCOUNT, parked=2), PLAN, True),
        (Account(ACCOUNT), PLAN, False),
        (started(parked=2), generated("2026-01-02"), False),
        (started(parked=2), PLAN, False),
        (started(parked=2), Wake(ACCOUNT, NOW, 1), True),
        (started(parked=2), ADJUST, True),
        (started(parked=2), OPENED, False),
        (started(parked=2, opening_since=NOW), Wake(ACCOUNT, NOW, 1), False),
    ],
)
def test_what_waits_matters_where_it_may_be_let_in(
    account: Account, item: Incoming | Wake | Command, matter: bool
) -> None:
    account = replace(account)

    assert (accounts_needing_parked([account], [item]) == [account]) is matter
    assert account.waiting_is_unknown is (account.parked > 0 and not matter)


def test_what_waits_and_is_not_there_is_never_guessed_over() -> None:
    account = started(parked=1)
    account.waiting_is_unknown = True

    with pytest.raises(LookupError):
        decide({ACCOUNT: account}, [Wake(ACCOUNT, NOW, 1)], NOW, Rules())


def test_what_expires_within_a_batch_leaves_the_plan_to_come_its_time(hundred: Story) -> None:
    """The purchase expires without the plans; the pending plan is still the next timer."""
    hundred.plan(200, "2026-01-02", effective="2026-01-20")
    bought = CreditsPurchased(account_id=ACCOUNT, purchase_id="b", credits=5, expires_at=time("2026-01-10"))

    decided = hundred.batch([event(bought, time("2026-01-05"), "bought"), generated("2026-01-12")])

    assert [d.outcome for d in decided.decisions] == ["purchased", "expired", "charged"]
    hundred.wait("2026-01-20")
    assert hundred.log[-1] == "plan_change +100"


def test_plans_that_are_not_there_are_never_guessed_over() -> None:
    calendar = Calendar(time("2026-01-01"), "UTC")
    account = Account(ACCOUNT, calendar=calendar, period=calendar.period(0), next_timer_at=DUE)
    account.plan_position, account.plans_unknown_until = 1, DUE
    change = event(PlanChanged(account_id=ACCOUNT, plan_id="p", monthly_credits=1), time("2026-01-02"), "plan")

    with pytest.raises(LookupError):
        decide({ACCOUNT: account}, [change], NOW, Rules())
