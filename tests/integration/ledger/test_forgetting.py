"""More is told of a prospect than is kept of it, on the real ledger: nothing that was done changes by that."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import asyncpg
import pytest

from credit_contracts import (
    EmailBounced,
    Event,
    IncomingData,
    PlanChanged,
    ProspectDeleted,
    ProspectExported,
    ProspectGenerated,
    ProspectImported,
    ProspectStageChanged,
)
from credit_contracts.incoming import WRONG_EMAIL
from credit_contracts.naming import topic_name
from credit_service.bounds import HISTORY_MAX
from credit_service.domain.audit.differences import compared
from credit_service.domain.command import DecideRefund, OpenAccount, OpenProspect
from credit_service.domain.rules import Rules
from credit_service.postgres.reconcile.audit import open_audit
from support.credits import run_credits
from support.explained import Ledger, ledger_of, records_of
from support.ledger_promises import balance, causes, charges, grants, requests
from support.observed import observe_ledger
from support.small_bounds import SMALL, small_bounds

BEGAN = datetime.now(UTC).replace(microsecond=0) - timedelta(days=3)
KINDS: dict[str, type[IncomingData]] = {
    "G": ProspectGenerated,
    "E": ProspectExported,
    "I": ProspectImported,
    "B": EmailBounced,
    "W": ProspectStageChanged,
    "D": ProspectDeleted,
}


class Ann:
    """One account with 100 credits, and what is told of its one prospect: a minute apart, unless told of then."""

    def __init__(self, ledger: Ledger, url: str) -> None:
        self.ledger = ledger
        self.url = url
        self._minutes, self._ids = count(1), count()

    async def tell(self, kinds: str, at: datetime | None = None) -> list[str]:
        """Such as `GBD`, in one batch; the outcomes, `dead letter` for what has none."""
        events = [self._event(kind, at or BEGAN + timedelta(minutes=next(self._minutes))) for kind in kinds]
        await self.take(*events)
        rows = await self.ledger.connection.fetch(
            "SELECT id, outcome::text FROM credits.decisions_by_account WHERE source = '/tests'"
        )
        became = {row["id"]: row["outcome"] for row in rows}
        return [became.get(event.id, "dead letter") for event in events]

    async def take(self, *events: Event[IncomingData]) -> None:
        await self.ledger.take(records_of(events))

    def _event(self, kind: str, at: datetime) -> Event[IncomingData]:
        words = {"B": {"bounce_type": "hard"}, "W": {"stage": WRONG_EMAIL}}.get(kind, {})
        data = KINDS[kind].model_validate({"account_id": "acme", "prospect_id": "ann"} | words)
        return Event("/tests", f"e-{next(self._ids)}", topic_name(type(data)), at, data)

    async def log(self) -> list[str]:
        rows = await self.ledger.connection.fetch("SELECT reason::text, amount FROM credits.entries ORDER BY sequence")
        return [f"{row['reason']} {row['amount']:+}" for row in rows]

    async def requests(self) -> dict[int, str]:
        rows = await self.ledger.connection.fetch("SELECT charge_sequence, status::text FROM credits.refund_requests")
        return dict(tuple(row) for row in rows)

    async def row(self) -> asyncpg.Record:
        row = await self.ledger.connection.fetchrow("SELECT * FROM credits.prospects_by_account")
        assert row is not None
        return row

    async def assert_recomputed(self) -> None:
        """All that is kept follows from the decisions."""
        async with open_audit(self.url, "") as audit:
            async for accounts in audit.accounts(0, 1, None):
                histories = await audit.histories(accounts)
                made = {}
                for account, history in zip(accounts, histories, strict=True):
                    recomputed, differences = compared(history, Rules())
                    assert differences == []
                    made[account.number] = recomputed.account
                assert await audit.differing_prospects(made) == []


@pytest.fixture
async def bare(database_url: str) -> AsyncIterator[Ann]:
    async with ledger_of(database_url) as ledger:
        yield Ann(ledger, database_url)


@pytest.fixture
async def ann(bare: Ann) -> Ann:
    data = PlanChanged(account_id="acme", plan_id="pro", monthly_credits=100)
    await bare.take(Event("/billing", "plan", "plan-changed", BEGAN, data))
    return bare


@pytest.fixture
def at_seven() -> Iterator[None]:
    with small_bounds(HISTORY_MAX=SMALL["HISTORY_MAX"]):
        yield


@pytest.mark.parametrize("exports", [29, 31, 45])
async def test_a_bounce_after_the_delete_gives_nothing_back_however_often_it_was_exported(
    ann: Ann, exports: int
) -> None:
    await ann.tell("G" + exports * "E")
    assert await ann.tell("D") == ["deleted"]
    assert await ann.tell("B") == ["no-effect"]
    assert await ann.tell("G") == ["charged"]
    assert await ann.log() == ["plan_change +100", "charge -1", "charge -1"]
    await ann.assert_recomputed()


async def test_one_that_was_imported_stays_so_after_a_wrong_email_before_it(ann: Ann) -> None:
    assert await ann.tell("WI" + 31 * "E") == ["awaiting-charge", "imported", *31 * ["free"]]
    assert (await ann.log(), await ann.requests()) == (["plan_change +100"], {})
    await ann.assert_recomputed()


async def test_what_is_told_of_a_closed_stay_is_too_late_and_explained(ann: Ann, tmp_path: Path) -> None:
    await ann.tell("GD")
    await ann.tell("GD" * (HISTORY_MAX // 2))
    row = await ann.row()
    assert row["closed_until"] == BEGAN + timedelta(minutes=2)

    assert await ann.tell("BWEGID", BEGAN + timedelta(minutes=1)) == 6 * ["too-late"]
    assert await ann.row() == row
    assert await ann.log() == ["plan_change +100", *17 * ["charge -1"]]
    await ann.assert_recomputed()
    settings: dict[str, object] = {"database_url": ann.url, "kafka_bootstrap_servers": "127.0.0.1:1"}
    done = await asyncio.to_thread(run_credits, "explain", "acme", "--prospect", "ann", folder=tmp_path, **settings)
    assert done.returncode == 0
    assert (
        done.stdout.count(
            "too-late, without effect: the prospect has had more reports since than are kept, and that time is closed"
        )
        == 6
    )


@pytest.mark.usefixtures("at_seven")
async def test_nothing_is_left_of_a_prospect_but_what_was_closed(ann: Ann) -> None:
    await ann.tell("BWGBWE" + "B" + "D")
    row = await ann.row()
    assert (row["told"], row["charge_sequence"], row["origin"]) == ("{}", None, None)
    assert row["closed_until"] == BEGAN + timedelta(minutes=8)

    assert await ann.tell("B") == ["no-effect"]
    assert await ann.tell("G") == ["charged"]
    assert await ann.tell("B", BEGAN + timedelta(minutes=8)) == ["too-late"]
    assert await ann.log() == ["plan_change +100", "charge -1", "refund +1", "charge -1"]
    await ann.assert_recomputed()


@pytest.mark.usefixtures("at_seven")
@pytest.mark.parametrize("way", ["one batch", "batches"])
async def test_a_request_outlives_the_close_of_its_stay(ann: Ann, way: str) -> None:
    for kinds in ["GW" + 5 * "DG"] if way == "one batch" else ["G", "W", *5 * ["D", "G"]]:
        await ann.tell(kinds)
    assert await ann.requests() == {2: "waiting"}
    assert await ann.tell("B", BEGAN + timedelta(minutes=1)) == ["too-late"]

    assert await ann.ledger.order("acme", DecideRefund(2, True, "lee", "wrong person")) == "refunded"
    assert await ann.ledger.order("acme", DecideRefund(2, False, "kim", "no")) == "already-decided"
    assert (await ann.requests(), (await ann.log())[-1]) == ({2: "approved"}, "refund +1")
    assert await ann.ledger.connection.fetchval("SELECT remaining FROM credits.grants") == 95
    await ann.assert_recomputed()


@pytest.mark.usefixtures("at_seven")
async def test_so_does_one_of_a_prospect_that_was_opened(bare: Ann) -> None:
    opening = OpenAccount("pro", 10, None, None, BEGAN - timedelta(days=1), "UTC", 9)
    assert await bare.ledger.order("acme", opening) == "opened"
    assert await bare.ledger.order("acme", OpenProspect("ann", "generated")) == "opened"
    await bare.tell("W" + 5 * "DG")
    assert await bare.requests() == {-2: "waiting"}

    assert await bare.ledger.order("acme", DecideRefund(-2, True, "lee", "wrong person")) == "refunded"
    assert await bare.tell("E") == ["free"]
    assert (await bare.log()).count("refund +1") == 1
    await bare.assert_recomputed()


@pytest.mark.usefixtures("at_seven")
@pytest.mark.parametrize("seed", range(6))
async def test_whatever_is_told_in_any_order_no_constraint_refuses_it(ann: Ann, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(25):
        kinds = "".join(chance.choice("GGEEIBBWWDD") for _ in range(chance.choice([1, 1, 2, 6])))
        late = BEGAN + timedelta(minutes=chance.randint(1, 60))
        assert "dead letter" not in await ann.tell(kinds, chance.choice([None, None, late]))
    row = await ann.row()
    assert len(row["told"].split(",")) <= SMALL["HISTORY_MAX"]
    assert row["closed_until"] is not None
    await ann.assert_recomputed()
    observed = await observe_ledger(ann.url, "")
    for promise in (balance, grants, causes, charges, requests):
        assert list(promise(observed)) == []
