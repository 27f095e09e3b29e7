"""The model of `tests/property` against the real thing: Kafka, a running service, Postgres, and the refund desk."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any, TypeVar

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from credit_contracts.envelope import Event
from credit_contracts.incoming import IncomingData
from credit_contracts.naming import topic_name
from credit_service.application.commands.execute import execute
from credit_service.application.refunds.desk import RefundDesk
from credit_service.domain.command import CommandData, DecideRefund, command_of
from credit_service.domain.rules import LateRefund, Rules
from credit_service.postgres.ledger.ledger import PostgresLedger
from credit_service.postgres.pool import open_pool
from property.machine import AccountMachine, Change, State
from support.clock import GRACE, Clock
from support.examples import examples
from support.patience import patience
from support.promises import violations
from support.reconciled import reconcile
from support.service import Deployment
from support.traffic import Upstream
from support.wait import eventually

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
LATE_REFUND = LateRefund("days", 20)
SOURCE = "/tests"
STEP_SECONDS_MAX = 60
# A year: what waits for a first plan waits for days and months here.
PARKED_HOURS_MAX = "8784"

# What became of the message at a place: what was decided, why it was refused, or that it waits; else it is a repeat.
_OUTCOME = """
SELECT outcome::text FROM credits.decisions_by_account
WHERE account_id = $1 AND type::text = $2 AND partition = $4 AND "offset" = $5
UNION ALL SELECT reason FROM credits.dead_letters WHERE topic = $3 AND partition = $4 AND "offset" = $5
UNION ALL SELECT 'parked' FROM credits.parked_events JOIN credits.accounts USING (account_no)
WHERE account_id = $1 AND type::text = $2 AND partition = $4 AND "offset" = $5
"""
_CHANGES = """
SELECT sequence, min(previous_balance), min(balance), sum(amount)::bigint, min(reason::text)
FROM credits.entries_by_account
WHERE account_id = $1 AND sequence > $2 GROUP BY sequence ORDER BY sequence
"""

T = TypeVar("T")


@dataclass
class Stack:
    """One deployment that runs, with an account for each example; called from a thread beside its loop's."""

    ledger: PostgresLedger
    pool: asyncpg.Pool[asyncpg.Record]
    clock: Clock
    upstream: Upstream
    loop: asyncio.AbstractEventLoop
    now: datetime = BEGINNING
    sent: int = 0
    accounts: count[int] = field(default_factory=count)

    def run(self, does: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(does, self.loop).result(patience(STEP_SECONDS_MAX))

    async def reach(self, at: datetime) -> None:
        """Moves the clock to that time, never back."""
        if at > self.now:
            self.now = at
            await self.clock.set(at)


class AccountOnTheStack:
    """One account there."""

    late_refund = LATE_REFUND

    def __init__(self, stack: Stack) -> None:
        self.account_id = f"account-{next(stack.accounts)}"
        self._stack = stack

    @property
    def clock(self) -> datetime:
        return self._stack.now

    def happens(self, data: IncomingData, at: datetime, event_id: str) -> str:
        return self._stack.run(self._happens(Event(SOURCE, event_id, topic_name(type(data)), at, data)))

    async def _happens(self, event: Event[IncomingData]) -> str:
        stack = self._stack
        await stack.reach(event.time)
        (sent,) = await stack.upstream.send([event])
        stack.sent += 1

        async def is_taken_in() -> bool:
            return await stack.clock.taken_in() >= stack.sent

        await eventually(is_taken_in)
        said: str | None = await stack.pool.fetchval(
            _OUTCOME, self.account_id, event.type, sent.topic, sent.partition, sent.offset
        )
        return said or "duplicate"

    def written_at(self, at: datetime) -> datetime:
        """The topics do not say, so that the ledger's clock counts."""
        return max(at, self._stack.now)

    def ordered(self, data: CommandData, at: datetime, command_id: str) -> str:
        return self._stack.run(self._ordered(data, at, command_id))

    async def _ordered(self, data: CommandData, at: datetime, command_id: str) -> str:
        await self._stack.reach(at)
        ledger, rules = self._stack.ledger, Rules(LATE_REFUND)
        if isinstance(data, DecideRefund):
            answer = await RefundDesk(ledger, rules).decide(
                self.account_id,
                data.charge_sequence,
                approve=data.is_approved,
                operator=data.operator,
                reason=data.reason,
                command_id=command_id,
            )
        else:
            (answer,) = await execute(ledger, rules, [command_of(self.account_id, data, command_id)])
        return answer.outcome

    def wait(self, until: datetime) -> None:
        self._stack.run(self._stack.reach(until + GRACE))
        self.woken_up_to()

    def woken_up_to(self) -> datetime | None:
        """What is due by the clock happens at any time from then on; so it is waited for."""
        self._stack.run(self._is_woken())
        return self._stack.now - GRACE

    async def _is_woken(self) -> None:
        async def has_happened() -> bool:
            due = await self._stack.pool.fetchval(
                "SELECT next_timer_at FROM credits.accounts WHERE account_id = $1", self.account_id
            )
            return due is None or due > self._stack.now - GRACE

        await eventually(has_happened)

    def state(self) -> State:
        return self._stack.run(self._state())

    async def _state(self) -> State:
        fetch = self._stack.pool.fetch
        (row,) = await fetch(
            "SELECT balance, unlimited, declined_in_period, position FROM credits.accounts WHERE account_id = $1",
            self.account_id,
        ) or [{"balance": 0, "unlimited": False, "declined_in_period": 0, "position": 0}]
        grants = await fetch(
            "SELECT origin::text, sum(remaining)::bigint FROM credits.grants JOIN credits.accounts USING (account_no)"
            " WHERE account_id = $1 AND remaining > 0 AND open GROUP BY origin",
            self.account_id,
        )
        requests = await fetch(
            "SELECT charge_sequence, status::text FROM credits.refund_requests JOIN credits.accounts USING (account_no)"
            " WHERE account_id = $1",
            self.account_id,
        )
        return State(
            row["balance"],
            None if row["unlimited"] else row["balance"],
            row["declined_in_period"],
            row["position"],
            {origin: remaining for origin, remaining in grants},  # noqa: C416 - rows are no pairs
            {sequence: status for sequence, status in requests},  # noqa: C416
        )

    def changes(self, after: int) -> list[Change]:
        rows = self._stack.run(self._stack.pool.fetch(_CHANGES, self.account_id, after))
        return [Change(*row) for row in rows]


# Of what comes in any order the model tells more, step by step, than the oracle can afterwards.
HELD_BY_THE_MODEL = ("charges:", "declines:", "prospects:")


@pytest.mark.timeout(600)
async def test_the_service_agrees_with_the_model(deployment: Deployment) -> None:
    await deployment.make_topics()
    async with (
        Clock.replacing(deployment.database_url, BEGINNING) as clock,
        deployment.upstream() as upstream,
        open_pool(deployment.database_url) as pool,
    ):
        service = await (await deployment.start(late_refund="days:20", parked_hours_max=PARKED_HOURS_MAX)).ready()
        ledger = PostgresLedger(pool, unparked_max=1_000, topic_prefix=deployment.prefix)
        stack = Stack(ledger, pool, clock, upstream, asyncio.get_running_loop())

        class ServiceAgainstModel(AccountMachine):
            # Only a sweep that comes every half a minute lets them in.
            opens_with_parked_events = False

            def begin(self, late_refund: LateRefund) -> AccountOnTheStack:  # noqa: ARG002 - a deployment has one
                # An account of its own, in a year that the clock has not reached.
                self.year = stack.now.year + 1
                return AccountOnTheStack(stack)

        few = settings(
            max_examples=examples(12),
            stateful_step_count=30,
            # What fails is shown as it is: each try to make it shorter would take seconds.
            phases=[Phase.generate],
            database=None,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        )
        await asyncio.to_thread(run_state_machine_as_test, ServiceAgainstModel, settings=few)
        broken = violations(await deployment.oracle().settled())
        run = await reconcile(deployment, late_refund="days:20")
        # Each account has events of the same names.
        odd = [f for f in run.findings if f["kind"] not in ("key-shared", "dead-letter-waiting")]
        assert odd == []
        assert [line for line in broken if not line.startswith(HELD_BY_THE_MODEL)] == []
        assert run.summary["could_not_tell"] == []
        assert await service.terminate() == 0
