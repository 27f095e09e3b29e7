"""One suite for both: what the service in memory does is, byte for byte, what the real one does on real servers."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias

from credit_contracts.sequence_guard import Place
from credit_contracts.topics import DEAD_LETTER_TOPIC, OUTGOING_TOPICS
from credit_service.application.adjustments import AdjustmentDesk
from credit_service.application.processing.parked_expiry import ParkedExpiry
from credit_service.application.refunds.desk import RefundDesk, RefundRound, RequestSelection
from credit_service.domain.command import Adjust, DecideRefund
from credit_service.domain.rules import Rules
from credit_service.postgres.ledger.ledger import PostgresLedger
from credit_service.postgres.operator.adjustments import PostgresAdjustments
from credit_service.postgres.operator.operations import PostgresOperationLog
from credit_service.postgres.operator.refunds import PostgresRefundRequests
from credit_service.postgres.pool import open_pool
from credit_service.postgres.reads.queries import PostgresReads
from credit_service.testing import CreditService
from support.clock import GRACE, Clock
from support.in_memory import play
from support.observed import read_topics
from support.scenarios import BACKLOG_KNOWN_AT, Lies, Ordered, Passes, Scenario, Told, backlog, in_short, scenarios
from support.small_bounds import UNSEEN, as_faults
from support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Iterable

    from credit_contracts.envelope import Headers
    from credit_service.postgres.pool import Pool
    from support.service import Deployment
    from support.traffic import Upstream

PARTITIONS = 3
PARKED_HOURS_MAX = 24

_DUE = "SELECT count(*) FROM credits.accounts WHERE next_timer_at <= $1"

Read: TypeAlias = "tuple[Place, bytes | None, bytes | None, Headers]"
Published: TypeAlias = "dict[tuple[str, bytes | None], list[tuple[int, bytes | None, list[tuple[str, bytes | None]]]]]"


async def test_the_service_in_memory_is_as_the_real_one(deployment: Deployment) -> None:
    in_memory = CreditService(BACKLOG_KNOWN_AT, partitions=PARTITIONS, topic_prefix=deployment.prefix)
    sent = backlog(7)
    in_memory.send(*sent)
    told = scenarios()
    await deployment.make_topics(partitions=PARTITIONS)
    async with (
        Clock.replacing(deployment.database_url, BACKLOG_KNOWN_AT) as clock,
        deployment.upstream() as upstream,
        open_pool(deployment.database_url) as pool,
    ):
        await upstream.send(sent)
        service = await (await deployment.start()).ready()
        real = Real(deployment, pool, clock, upstream, taken_in=len(sent))
        await real.settled(BACKLOG_KNOWN_AT)
        names = sorted({one.data.account_id for one in sent})
        seen = {f"{one.source} {one.id}": (one.data.account_id, one.source, one.id) for one in sent}
        for scenario in told:
            published = play(in_memory, scenario)
            assert [in_short(m.topic, m.value, m.headers) for m in published] == scenario.published
            await real.play(scenario)
            await real.agrees(in_memory, [scenario.account_id], _events_of(scenario))
        await real.agrees(in_memory, names, seen.values())
        await deployment.oracle().drained()
        lies = await read_topics(deployment.kafka, deployment.prefix, (*OUTGOING_TOPICS, DEAD_LETTER_TOPIC))
        from_kafka = [(Place(*m.place), m.key, m.value, m.headers) for messages in lies.values() for m in messages]
        expected = [(m.place, m.key, m.value, m.headers) for m in in_memory.published]
        assert _published(from_kafka) == _published(expected)
        assert len({place for place, *_ in expected}) == len(expected) > len(sent)
        assert await service.terminate() == 0


async def test_nobody_sees_that_bounds_are_met(deployment: Deployment) -> None:
    """The real one meets each of them all the time, the one in memory none."""
    in_memory = CreditService(BACKLOG_KNOWN_AT, partitions=PARTITIONS, topic_prefix=deployment.prefix)
    sent = backlog(11, accounts=3, events=40)
    in_memory.send(*sent)
    await deployment.make_topics(partitions=PARTITIONS)
    async with (
        Clock.replacing(deployment.database_url, BACKLOG_KNOWN_AT) as clock,
        deployment.upstream() as upstream,
        open_pool(deployment.database_url) as pool,
    ):
        await upstream.send(sent)
        service = await deployment.start(faults=as_faults(**UNSEEN))
        real = Real(deployment, pool, clock, upstream, taken_in=len(sent))
        await real.settled(BACKLOG_KNOWN_AT)
        events = [(one.data.account_id, one.source, one.id) for one in sent]
        await real.agrees(in_memory, {name for name, *_ in events}, events)
        await deployment.oracle().drained()
        lies = await read_topics(deployment.kafka, deployment.prefix, (*OUTGOING_TOPICS, DEAD_LETTER_TOPIC))
        from_kafka = [(Place(*m.place), m.key, m.value, m.headers) for messages in lies.values() for m in messages]
        assert _published(from_kafka) == _published((m.place, m.key, m.value, m.headers) for m in in_memory.published)
        # Both are logged a moment after they can be seen.
        assert await service.terminate() == 0
        batches, published = ([line["events"] for line in service.logged(said)] for said in ("batch", "published"))
        assert max(batches) <= UNSEEN["BATCH_RECORDS_MAX"]
        assert max(published) <= UNSEEN["CLAIM_ROWS_MAX"]
        assert sum(published) == len(in_memory.published)


class Real:
    """The real one, told the same."""

    def __init__(self, deployment: Deployment, pool: Pool, clock: Clock, upstream: Upstream, *, taken_in: int) -> None:
        self._ledger = PostgresLedger(pool, unparked_max=1_000, topic_prefix=deployment.prefix)
        self._expiry = ParkedExpiry(self._ledger, timedelta(hours=PARKED_HOURS_MAX))
        self._reads = PostgresReads(pool)
        self._pool = pool
        self._clock = clock
        self._upstream = upstream
        self._taken_in = taken_in

    async def play(self, scenario: Scenario) -> None:
        for step in scenario.steps:
            await self._clock.set(step.at)
            match step:
                case Told(event=event):
                    await self._upstream.send([event])
                    self._taken_in += 1
                case Lies(topic=topic, key=key, value=value, headers=headers):
                    await self._upstream.send_raw(topic, value, headers, key)
                    self._taken_in += 1
                case Ordered():
                    assert await self._answer(step) == step.answer
                case Passes():
                    # The service looks every half a minute.
                    await self._expiry.sweep(range(PARTITIONS), PARTITIONS)
            await self.settled(step.at)

    async def _answer(self, ordered: Ordered) -> str:
        try:
            return await self._ordered(ordered.account_id, ordered.what, ordered.command_id)
        except ValueError as error:
            return str(error)

    async def _ordered(self, account_id: str, what: Adjust | DecideRefund, command_id: str) -> str:
        """As the commands do; a round, which names orders by itself, is asked only about whom it knows nothing of."""
        desk, said = RefundDesk(self._ledger, Rules()), {"operator": what.operator, "reason": what.reason}
        if isinstance(what, Adjust):
            adjustments = AdjustmentDesk(self._ledger, Rules(), self._reads, PostgresAdjustments(self._pool))
            adjusted = await adjustments.adjust(
                account_id, what.amount, expires_at=what.expires_at, command_id=command_id, **said
            )
            return adjusted.outcome
        if await self._reads.account(account_id) is None:
            decides = RefundRound(desk, PostgresRefundRequests(self._pool), PostgresOperationLog(self._pool))
            asked = RequestSelection(account_id, [what.charge_sequence])
            (told,) = [told async for told in decides.decide(asked, approve=what.is_approved, **said)]
            return told.outcome
        decided = await desk.decide(
            account_id, what.charge_sequence, approve=what.is_approved, command_id=command_id, **said
        )
        return decided.outcome

    async def settled(self, at: datetime) -> None:
        """Once all that was sent is decided, and all that is due has happened."""

        async def is_settled() -> bool:
            # In this order: what is decided may set a timer.
            has_all = await self._clock.taken_in() >= self._taken_in
            return has_all and await self._pool.fetchval(_DUE, at - GRACE) == 0

        await eventually(is_settled)

    async def agrees(
        self, in_memory: CreditService, accounts: Iterable[str], events: Iterable[tuple[str, str, str]]
    ) -> None:
        """On accounts as they stand, and on what became of events."""
        for account_id in accounts:
            assert in_memory.account(account_id) == await self._reads.account(account_id)
        for event in events:
            assert in_memory.decision(*event) == await self._reads.event(*event)


def _events_of(scenario: Scenario) -> list[tuple[str, str, str]]:
    events = [step.event for step in scenario.steps if isinstance(step, Told)]
    return [(scenario.account_id, event.source, event.id) for event in events]


def _published(records: Iterable[Read]) -> Published:
    """By topic and key, as they lie in their partition; of dead letters no order is promised."""
    published: Published = defaultdict(list)
    for place, key, value, headers in sorted(records, key=_place):
        published[place.topic, key].append((place.partition, value, list(headers)))
    for (topic, _), messages in published.items():
        if topic.endswith(DEAD_LETTER_TOPIC):
            messages.sort(key=repr)
    return published


def _place(record: Read) -> tuple[str, int, int]:
    return record[0].topic, record[0].partition, record[0].offset
