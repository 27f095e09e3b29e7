"""However many accounts' first plans come in one batch, it takes a bounded number of parked events along."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from credit_contracts import Event, IncomingData, PlanChanged, ProspectGenerated, encode
from credit_contracts.naming import topic_name
from credit_service import bounds
from credit_service.application.processing.processor import Processor
from credit_service.application.processing.report import Report
from credit_service.application.record import Record, read_record
from credit_service.domain.event import Place, Wake
from credit_service.domain.rules import Rules
from credit_service.postgres.ledger.ledger import PostgresLedger
from credit_service.postgres.ledger.offsets import PostgresOffsetStore
from credit_service.postgres.pool import open_pool

BEGAN = datetime.now(UTC) - timedelta(hours=1)
ACCOUNTS = [f"a{n}" for n in range(4)]
_offsets = {"plan-changed": count(), "prospect-generated": count()}


def record(data: IncomingData) -> Record:
    topic = topic_name(type(data))
    offset = next(_offsets[topic])
    encoded = encode(Event("/test", f"{topic}-{offset}", topic, BEGAN + timedelta(seconds=offset), data))
    return read_record(Place(topic, 0, offset), topic, encoded.key, encoded.value, encoded.headers, 0)


async def test_a_batch_unparks_a_bounded_number(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "UNPARKED_PER_BATCH_MAX", 8)
    async with open_pool(database_url) as pool:
        store, rules = PostgresOffsetStore(pool), Rules()
        await store.open({(topic, 0): 0 for topic in _offsets})
        processor = Processor(PostgresLedger(pool, unparked_max=rules.unparked_max), rules)
        processor.positions.update(await store.load([(topic, 0) for topic in _offsets]))

        async def process(*data: IncomingData) -> Report:
            return await processor.process([record(one) for one in data], asyncio.Event())

        early = [ProspectGenerated(account_id=a, prospect_id=f"p{n}") for n in range(5) for a in ACCOUNTS]
        assert (await process(*early)).outcomes["parked"] == 20

        plans = await process(*(PlanChanged(account_id=a, plan_id="p", monthly_credits=3) for a in ACCOUNTS))
        assert plans.outcomes["charged"] == 8
        assert plans.lagging_accounts == set(ACCOUNTS)

        charged, declined = 8, 0
        lagging = plans.lagging_accounts
        while lagging:
            woken = await processor.wake([Wake(a, BEGAN, 0) for a in sorted(lagging)], asyncio.Event())
            assert 0 < woken.outcomes["charged"] + woken.outcomes["declined"] <= 8
            charged += woken.outcomes["charged"]
            declined += woken.outcomes["declined"]
            lagging = woken.lagging_accounts
        assert (charged, declined) == (4 * 3, 4 * 2)
