"""Accounts whose timers the database refuses stand in front of nobody, and come through once it is mended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import asyncpg

from credit_contracts.incoming import PlanChanged
from support.small_bounds import as_faults
from support.traffic import event
from support.wait import eventually

if TYPE_CHECKING:
    from support.service import Deployment

FAILING, OTHERS = 6, 4

REFUSES = """
CREATE FUNCTION credits.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.type = 'renewal' AND EXISTS (
        SELECT FROM credits.accounts WHERE account_no = NEW.account_no AND account_id LIKE 'bad-%'
    ) THEN
        RAISE EXCEPTION 'not this one' USING ERRCODE = '23514';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse BEFORE INSERT ON credits.decisions FOR EACH ROW EXECUTE FUNCTION credits.refuse();
"""


async def test_accounts_whose_timers_fail_stand_in_front_of_nobody(deployment: Deployment) -> None:
    await deployment.make_topics(partitions=1)
    # A month ago and a bit: the first months are over, those of who fails soonest.
    began = datetime.now(UTC) - timedelta(days=40)
    names = [*(f"bad-{n}" for n in range(FAILING)), *(f"good-{n}" for n in range(OTHERS))]
    async with deployment.upstream() as upstream:
        plans = [
            event(PlanChanged(account_id=name, plan_id="p", monthly_credits=5), began + timedelta(minutes=n))
            for n, name in enumerate(names)
        ]
        await upstream.send(plans)
    connection = await asyncpg.connect(deployment.database_url)

    async def turned(like: str) -> int:
        found: int = await connection.fetchval(
            "SELECT count(DISTINCT account_no) FROM credits.decisions JOIN credits.accounts USING (account_no)"
            " WHERE type = 'renewal' AND account_id LIKE $1",
            like,
        )
        return found

    async def have_turned(like: str, number: int) -> bool:
        return await turned(like) == number

    try:
        await connection.execute(REFUSES)
        service = await (await deployment.start(faults=as_faults(ACCOUNTS_PER_SWEEP_MAX=2))).ready()
        await eventually(lambda: have_turned("good-%", OTHERS))
        assert await turned("bad-%") == 0

        await connection.execute("DROP TRIGGER refuse ON credits.decisions")
        await eventually(lambda: have_turned("bad-%", FAILING))
    finally:
        await connection.close()
    await deployment.oracle().check()
    assert await service.terminate() == 0
