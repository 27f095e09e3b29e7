"""A trace goes from a producer's header through the ledger into the record that consumers read, and costs nobody."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import asyncpg

from credit_contracts import encode
from credit_contracts.incoming import PlanChanged, ProspectGenerated
from support.collector import collecting
from support.observed import CHANGES, DECLINES
from support.reconciled import reconcile
from support.traffic import event
from support.wait import eventually

if TYPE_CHECKING:
    from credit_contracts import Event, IncomingData
    from support.observed import Message
    from support.service import Deployment
    from support.traffic import Upstream

AT = datetime.now(UTC) - timedelta(minutes=2)
PLAN = event(PlanChanged(account_id="a", plan_id="p", monthly_credits=2), AT)
SAMPLED, NOT_SAMPLED = "01", "00"


def generated(prospect: str) -> Event[IncomingData]:
    return event(ProspectGenerated(account_id="a", prospect_id=prospect), AT + timedelta(seconds=1))


async def send_traced(upstream: Upstream, one: Event[IncomingData], traceparent: str) -> None:
    encoded = encode(one)
    headers = [*encoded.headers, ("traceparent", traceparent.encode())]
    await upstream.send_raw(one.type, encoded.value, headers, key=encoded.key)


def trace_of(message: Message) -> tuple[str, str, str] | None:
    traceparent = message.header("traceparent")
    if traceparent is None:
        return None
    _, trace_id, span_id, flags = traceparent.split("-")
    return trace_id, span_id, flags


async def test_one_trace_from_the_producer_to_the_consumed_record(deployment: Deployment) -> None:
    await deployment.make_topics()
    producer, unsampled = (secrets.token_hex(16), secrets.token_hex(8)), (secrets.token_hex(16), secrets.token_hex(8))
    with collecting() as collector:
        # Killed once its transaction is committed on Kafka: the next one finds out, trace or no trace.
        killed = await (await deployment.start(otlp_endpoint=collector.url, kill_at="before-cleanup:2")).ready()
        async with deployment.upstream() as upstream:
            await upstream.send([PLAN])
            await deployment.oracle().drained()
            await send_traced(upstream, generated("p1"), "-".join(("00", *producer, SAMPLED)))
            assert await killed.ended() < 0
            await deployment.forget_members()
            # Nor is there a cursor, nor is the trace known to whoever looks into the topic: a release without traces.
            deployment.group += "-2"
            connection = await asyncpg.connect(deployment.database_url)
            assert (
                await connection.execute("UPDATE credits.outbox SET trace = NULL WHERE trace IS NOT NULL") == "UPDATE 1"
            )
            await connection.close()
            service = await (await deployment.start(otlp_endpoint=collector.url)).ready()
            await send_traced(upstream, generated("p2"), "-".join(("00", *unsampled, NOT_SAMPLED)))
            await deployment.oracle().drained()
            await send_traced(upstream, generated("p3"), "-".join(("00", *producer, SAMPLED)))
            await upstream.send_raw("email-bounced", b"not json", [("traceparent", b"00-hunter2-\xff")])
            await send_traced(upstream, generated("p4"), "00-hunter2-hunter2-01")
        observed = await deployment.oracle().check()
        assert await service.terminate() == 0

    plan, first, second = observed.outgoing[CHANGES]
    declines = {m.data()["prospect_id"]: m for m in observed.outgoing[DECLINES]}
    assert trace_of(plan) is trace_of(declines["p4"]) is None
    # Not sampled by its producer: no span of ours, and the consumer goes on in the same trace all the same.
    assert trace_of(second) == (*unsampled, NOT_SAMPLED)

    (process,) = collector.named("process prospect-generated")[-1:]
    assert (process.trace_id.hex(), process.parent_span_id.hex()) == producer
    assert trace_of(declines["p3"]) == (producer[0], process.span_id.hex(), SAMPLED)
    found = trace_of(first)
    assert found is not None
    assert (found[0], found[2]) == (producer[0], SAMPLED)

    (batch,) = [s for s in collector.named("credits batch") if s.span_id == process.links[0].span_id]
    assert (batch.links[0].trace_id.hex(), batch.links[0].span_id.hex()) == producer
    (transaction,) = [s for s in collector.named("credits transaction") if s.parent_span_id == batch.span_id]
    steps = [s.name for s in collector.spans if s.parent_span_id == transaction.span_id]
    assert steps == ["load", "decide", "store", "commit"]
    published = {(link.trace_id, link.span_id) for s in collector.named("credits publish") for link in s.links}
    assert (process.trace_id, process.span_id) in published
    assert {s.name for s in collector.spans} == {
        "process prospect-generated",
        "credits batch",
        "credits transaction",
        "credits publish",
        *steps,
    }

    lines = [line for line in service.logged("batch") if line.get("trace_id") == batch.trace_id.hex()]
    assert len(lines) == 1
    assert all("trace_id" in line for line in service.logged("published"))
    assert "hunter2" not in service.said() + repr(collector.spans)

    # Headers are no part of what is compared: nothing is missing, nothing differs, and the trace is gone with its row.
    assert (await reconcile(deployment)).found == set()


async def test_a_collector_that_is_away_or_hangs_hurts_nobody(deployment: Deployment) -> None:
    await deployment.make_topics()
    with collecting() as collector:
        collector.answer = 400
        service = await (await deployment.start(otlp_endpoint=collector.url, shutdown_seconds="6")).ready()
        async with deployment.upstream() as upstream:
            await upstream.send([PLAN])
            await eventually(lambda: service.logged("traces are lost, the collector does not accept them"))
            collector.answer = 200
            await upstream.send([generated("p1")])
            await eventually(lambda: service.logged("traces are accepted again"))
            assert len(service.logged("traces are lost, the collector does not accept them")) == 1
            collector.may_answer.clear()
            asked = collector.requests
            await upstream.send([generated("p2")])
            await eventually(lambda: collector.requests > asked)
        observed = await deployment.oracle().check()
        assert len(observed.outgoing[CHANGES]) == 3
        await service.ready()
        # It still hangs while the service ends.
        assert await service.terminate(within_seconds=20) == 0


async def test_without_an_endpoint_nothing_is_traced_and_nothing_of_it_is_loaded(deployment: Deployment) -> None:
    await deployment.make_topics()
    service = await (await deployment.start()).ready()
    async with deployment.upstream() as upstream:
        await send_traced(upstream, PLAN, "-".join(("00", secrets.token_hex(16), secrets.token_hex(8), SAMPLED)))
    observed = await deployment.oracle().check()
    assert trace_of(observed.outgoing[CHANGES][0]) is None
    assert not any("trace_id" in line for line in service.logged("batch"))
    assert await service.terminate() == 0
