"""The service in memory agrees with a model that was written independently, over histories at random."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from credit_contracts.envelope import Event
from credit_contracts.incoming import IncomingData
from credit_contracts.naming import topic_name
from credit_contracts.outgoing import BalanceChanged
from credit_service.application.commands.execute import execute
from credit_service.application.processing.timer_sweep import TIMER_GRACE
from credit_service.domain.command import Adjust, CommandData, DecideRefund, command_of
from credit_service.domain.rules import LateRefund, Rules
from credit_service.testing import CreditService, DecidedEvent, Message
from property.machine import AccountMachine, Change, State
from support.examples import examples
from support.small_bounds import OF_COLUMNS, SMALL, read_by, small_bounds

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
SOURCE = "/tests"
# A year: what waits for a first plan waits for days and months here.
PARKED_HOURS_MAX = 24 * 366


class AccountInMemory:
    """One account there; its clock moves on with what happens."""

    account_id = "acme"

    def __init__(self, late_refund: LateRefund) -> None:
        self.late_refund = late_refund
        self._service = CreditService(BEGINNING, late_refund=late_refund, parked_hours_max=PARKED_HOURS_MAX)

    @property
    def clock(self) -> datetime:
        return self._service.now

    def happens(self, data: IncomingData, at: datetime, event_id: str) -> str:
        self._reach(at)
        before = len(self._service.dead_letters)
        was_known = self._service.decision(self.account_id, SOURCE, event_id) is not None
        self._service.send(Event(SOURCE, event_id, topic_name(type(data)), at, data))
        if len(self._service.dead_letters) > before:
            return self._service.dead_letters[-1].reason or ""
        if was_known:
            return "duplicate"
        became = self._service.decision(self.account_id, SOURCE, event_id)
        return became.outcome if isinstance(became, DecidedEvent) else "parked"

    def written_at(self, at: datetime) -> datetime:
        return max(at, self._service.now)

    def ordered(self, data: CommandData, at: datetime, command_id: str) -> str:
        self._reach(at)
        if isinstance(data, Adjust | DecideRefund) and self._service.account(self.account_id) is not None:
            outcome, _ = self._service.order(self.account_id, data, command_id)
            return outcome
        # It brings no customers in, and does nothing for an account that is not there.
        command = command_of(self.account_id, data, command_id)
        (answer,) = asyncio.run(execute(self._service._ledger, Rules(self.late_refund), [command]))
        self._reach(at)
        return answer.outcome

    def wait(self, until: datetime) -> None:
        self._reach(until + TIMER_GRACE)

    def woken_up_to(self) -> datetime | None:
        return self._service.now - TIMER_GRACE

    def state(self) -> State:
        kept = self._service._ledger.accounts.get(self.account_id)
        account = self._service.account(self.account_id)
        if kept is None or account is None:
            return State(0, 0, 0, 0, {}, {})
        by_origin = Counter[str]()
        for grant in account.grants:
            by_origin[grant.origin] += grant.remaining
        requests: dict[int, str] = {sequence: request.status for sequence, request in kept.requests.items()}
        position, declined = kept.row.position, account.declined_in_period
        return State(by_origin.total(), account.balance, declined, position, dict(+by_origin), requests)

    def changes(self, after: int) -> list[Change]:
        published = [message for message in self._service.published if message.topic == "balance-changed"]
        return [_change(message) for message in published[after:]]

    def _reach(self, at: datetime) -> None:
        self._service.move_clock(max(at, self._service.now))


def _change(message: Message) -> Change:
    data = message.event.data
    assert isinstance(data, BalanceChanged)
    return Change(data.sequence, data.previous_balance, data.balance, data.delta, data.reason)


class ServiceInMemoryAgainstModel(AccountMachine):
    def begin(self, late_refund: LateRefund) -> AccountInMemory:
        return AccountInMemory(late_refund)


TestServiceInMemoryAgainstModel = ServiceInMemoryAgainstModel.TestCase
TestServiceInMemoryAgainstModel.settings = settings(max_examples=examples(40), stateful_step_count=40)


def bounds_in_memory() -> list[str]:
    names = read_by(
        "domain",
        "testing",
        "application/processing/fold.py",
        "application/processing/processor.py",
        "application/processing/parked_expiry.py",
        "application/commands/execute.py",
    )
    return sorted(names - OF_COLUMNS)


@pytest.mark.parametrize("name", bounds_in_memory())
def test_a_small_bound_does_not_show(name: str) -> None:
    few = settings(max_examples=examples(24), stateful_step_count=40, phases=[Phase.generate, Phase.shrink])
    with small_bounds(**{name: SMALL[name]}):
        run_state_machine_as_test(ServiceInMemoryAgainstModel, settings=few)
