"""A message has one effect and one answer, for any number of deliveries, any order, and any partition."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import asyncpg

from credit_contracts.envelope import Event
from credit_contracts.incoming import EmailBounced, IncomingData, PlanChanged, ProspectExported, ProspectGenerated
from support.observed import DECLINES, Observed
from support.service import Deployment
from support.traffic import event, random_traffic, slices
from support.wait import eventually

NOW = datetime.now(UTC)
PARTITIONS = 27


def plan(account: str, monthly_credits: int, *, hours_ago: float = 10) -> Event[IncomingData]:
    data = PlanChanged(account_id=account, plan_id="plan", monthly_credits=monthly_credits)
    return event(data, NOW - timedelta(hours=hours_ago))


def generate(account: str, prospect: str, *, hours_ago: float = 5, event_id: str | None = None) -> Event[IncomingData]:
    data = ProspectGenerated(account_id=account, prospect_id=prospect)
    return event(data, NOW - timedelta(hours=hours_ago), event_id)


def export(account: str, prospect: str, *, hours_ago: float = 5) -> Event[IncomingData]:
    return event(ProspectExported(account_id=account, prospect_id=prospect), NOW - timedelta(hours=hours_ago))


def bounce(account: str, prospect: str, *, hours_ago: float = 4) -> Event[IncomingData]:
    return event(EmailBounced(account_id=account, prospect_id=prospect), NOW - timedelta(hours=hours_ago))


def outcomes(observed: Observed, account: str) -> dict[str, str]:
    """What became of each event, by its id."""
    return {
        d["id"]: d["outcome"] for d in observed.decisions if d["account_id"] == account and d["partition"] is not None
    }


def changes(observed: Observed, account: str) -> list[tuple[str, int]]:
    return [(e["reason"], e["amount"]) for e in observed.entries if e["account_id"] == account]


async def test_every_message_three_times_has_one_effect_and_one_event(deployment: Deployment) -> None:
    await deployment.make_topics()
    once = random_traffic(11, events=250)
    places = random.Random(11)
    thrice = sorted(
        ((number + places.randint(0, 60), one) for number, one in enumerate(once) for _ in range(3)),
        key=lambda pair: pair[0],
    )
    service = await deployment.start(batch_records_max="50")
    async with deployment.upstream() as upstream:
        for part in slices([one for _, one in thrice], 100):
            await upstream.send(part)
    observed = await deployment.oracle().check()
    told = {(one.data.account_id, one.source, one.id) for one in once}
    decided = Counter((d["account_id"], d["source"], d["id"]) for d in observed.decisions if d["partition"] is not None)
    assert decided == dict.fromkeys(told, 1)
    assert len(observed.incoming) == 3 * len(once)
    assert observed.dead_letters == []
    assert await service.terminate() == 0


async def test_the_same_id_with_other_content_is_a_dead_letter_without_effect(deployment: Deployment) -> None:
    await deployment.make_topics()
    service = await deployment.start()
    async with deployment.upstream() as upstream:
        await upstream.send([plan("a", 5), generate("a", "first", event_id="one")])
        before = await deployment.oracle().settled()
        (again, other) = await upstream.send(
            [generate("a", "first", event_id="one"), generate("a", "other", event_id="one")]
        )
    observed = await deployment.oracle().check()
    assert [(row["partition"], row["offset"], row["reason"]) for row in observed.dead_letters] == [
        (other.partition, other.offset, "conflict")
    ]
    assert observed.decisions == before.decisions
    assert observed.accounts == before.accounts
    assert again.partition == other.partition
    assert await service.terminate() == 0


async def test_a_hundred_concurrent_charges_on_37_credits_charge_37(deployment: Deployment) -> None:
    """On partitions of both services, so that they are after the same account at the same time."""
    await deployment.make_topics()
    services = [await deployment.start(batch_records_max="5") for _ in range(2)]
    for service in services:
        await service.ready()
    await eventually(lambda: _both_have_partitions(deployment), what="both services have partitions")
    charges = [generate("a", f"g{n}") for n in range(50)] + [export("a", f"e{n}") for n in range(50)]
    async with deployment.upstream() as upstream:
        await upstream.send([plan("a", 37)])
        await deployment.oracle().drained()

        async def send_shuffled(seed: int) -> None:
            rng = random.Random(seed)
            for one in rng.sample(charges, len(charges)):
                await upstream.send([one], partition=rng.randrange(3))

        await asyncio.gather(*(send_shuffled(seed) for seed in range(3)))
        oracle = deployment.oracle()
        observed = await oracle.check()
        assert Counter(outcomes(observed, "a").values()) == {"plan-in-force": 1, "charged": 37, "declined": 63}
        assert observed.accounts[0]["balance"] == 0
        assert len(observed.outgoing[DECLINES]) == 63
        for service in services:
            assert any(batch.get("charged") or batch.get("declined") for batch in service.logged("batch"))

        await asyncio.gather(*(send_shuffled(seed) for seed in range(3, 5)))
    after = await oracle.check()
    assert after.decisions == observed.decisions
    assert after.outgoing == observed.outgoing
    for service in services:
        assert await service.terminate() == 0


def _both_have_partitions(deployment: Deployment) -> bool:
    """The last word of each service on what it reads is a part, not the whole."""
    opened = [service.logged("partitions opened") for service in deployment.processes]
    return all(lines and lines[-1]["partitions"] < PARTITIONS for lines in opened)


async def test_late_arrivals_end_as_if_they_had_come_in_order(deployment: Deployment) -> None:
    await deployment.make_topics()
    service = await deployment.start()
    in_order = [
        plan("bounce-1", 5), generate("bounce-1", "p"), bounce("bounce-1", "p"),
        plan("export-1", 5), generate("export-1", "p", hours_ago=5), export("export-1", "p", hours_ago=4),
        plan("plan-1", 1), generate("plan-1", "p", hours_ago=5), generate("plan-1", "q", hours_ago=4),
    ]  # fmt: skip
    first = [
        plan("bounce-2", 5), bounce("bounce-2", "p"),
        plan("export-2", 5), export("export-2", "p", hours_ago=4),
        generate("plan-2", "q", hours_ago=4), generate("plan-2", "p", hours_ago=5),
    ]  # fmt: skip
    then = [generate("bounce-2", "p"), generate("export-2", "p", hours_ago=5), plan("plan-2", 1)]
    async with deployment.upstream() as upstream:
        await upstream.send([*in_order, *first])
        between = await deployment.oracle().check()
        await upstream.send(then)
    observed = await deployment.oracle().check()
    assert [row["account_id"] for row in between.parked] == ["plan-2", "plan-2"]
    assert observed.parked == []
    for case in ("bounce", "export", "plan"):
        assert changes(observed, f"{case}-2") == changes(observed, f"{case}-1"), case
        balances = {a["account_id"]: (a["balance"], a["sequence"]) for a in observed.accounts}
        assert balances[f"{case}-2"] == balances[f"{case}-1"], case
    assert changes(observed, "bounce-2") == [("plan_change", 5), ("charge", -1), ("refund", 1)]
    assert changes(observed, "export-2") == [("plan_change", 5), ("charge", -1)]
    declined = [d["prospect_id"] for d in observed.decisions if d["outcome"] == "declined"]
    assert declined == ["q", "q"]
    assert await service.terminate() == 0


async def test_messages_on_a_partition_not_their_accounts_are_decided_and_counted(deployment: Deployment) -> None:
    await deployment.make_topics()
    service = await deployment.start()
    events = random_traffic(13, accounts=3, events=60)
    async with deployment.upstream() as upstream:
        for number, one in enumerate(events):
            await upstream.send([one], partition=number % 3)
    observed = await deployment.oracle().check()
    assert observed.dead_letters == []
    connection = await asyncpg.connect(deployment.database_url)
    hashes = dict(await connection.fetch("SELECT account_id, partition_hash % 3 FROM credits.accounts"))
    await connection.close()
    wrong = sum(hashes[one.data.account_id] != number % 3 for number, one in enumerate(events))
    assert wrong > 0
    assert sum(batch["misplaced"] for batch in service.logged("batch")) == wrong
    assert await service.terminate() == 0
