"""The oracle sees what is broken: a run that holds is tampered with, and each promise complains."""

from __future__ import annotations

import copy
from collections.abc import Callable

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from support.observed import CHANGES, DEAD_LETTERS, DECLINES, Message, Observed
from support.oracle import violations
from support.service import Deployment
from support.traffic import random_traffic

Tamper = Callable[[Observed], object]


def _first(rows: list[dict[str, object]], **having: object) -> dict[str, object]:
    return next(row for row in rows if all(row[name] == value for name, value in having.items()))


def _again(o: Observed, topic: str) -> None:
    o.outgoing[topic].append(o.outgoing[topic][-1])


def _swap_order(o: Observed) -> None:
    """Two changes of one account, the later first."""
    messages = o.outgoing[CHANGES]
    first = messages[0]
    second = next(m for m in messages[1:] if m.key == first.key)
    at, other = messages.index(first), messages.index(second)
    messages[at], messages[other] = second, first


def _say(message: Message, old: bytes, new: bytes) -> None:
    assert message.value
    assert old in message.value
    message.value = message.value.replace(old, new)


def _decline_with_credits(o: Observed) -> None:
    """The first decision after which there are credits becomes a decline."""
    entry = next(e for e in o.entries if e["balance"])
    after = next(d for d in o.decisions if d["account_id"] == entry["account_id"] and d["position"] > entry["position"])
    after["outcome"] = "declined"


def _charge_twice(o: Observed) -> None:
    charges = [e for e in o.entries if e["reason"] == "charge"]
    one, other = charges[0], next(c for c in charges[1:] if c["account_id"] == charges[0]["account_id"])
    other["position"] = one["position"]


def _refund_twice(o: Observed) -> None:
    refunds = [e for e in o.entries if e["reason"] == "refund"]
    one, other = next((a, b) for a in refunds for b in refunds if a is not b and a["account_id"] == b["account_id"])
    other["refunds_sequence"] = one["refunds_sequence"]


TAMPERED: dict[str, list[Tamper]] = {
    "balance": [
        lambda o: o.accounts[0].update(balance=o.accounts[0]["balance"] + 1),
        lambda o: o.accounts[0].update(sequence=o.accounts[0]["sequence"] + 1),
        lambda o: o.accounts.pop(),
        lambda o: o.entries.pop(5),
        lambda o: _first(o.entries, reason="charge").update(amount=-1_000_000),
        lambda o: o.entries[3].update(previous_balance=123_456),
        lambda o: _first(o.grants, open=True).update(remaining=1_000_000),
    ],
    "grants": [
        lambda o: o.grants.pop(),
        lambda o: o.grants[0].update(remaining=-1),
        lambda o: o.grants[0].update(remaining=o.grants[0]["amount"] + 1),
    ],
    "charges": [_charge_twice, _refund_twice, lambda o: _first(o.decisions, outcome="charged").update(outcome="free")],
    "declines": [_decline_with_credits],
    "positions": [lambda o: o.decisions.pop(3), lambda o: o.decisions[3].update(position=10_000)],
    "inputs": [
        lambda o: o.decisions.pop(2),
        lambda o: o.incoming.pop(7),
        lambda o: o.decisions[2].update(offset=999_999),
        lambda o: o.dead_letters.pop(),
        lambda o: o.dead_letters.append(o.dead_letters[0]),
        lambda o: o.dead_letters[0].update(value=b"else"),
        lambda o: o.dead_letters[0].update(offset=999_999),
        lambda o: _first(o.decisions, type="renewal").update(source="/somebody"),
        lambda o: _say(next(m for m in o.incoming if m.value and b'"hard"' in m.value), b'"hard"', b"broken"),
    ],
    "changes out": [
        lambda o: o.outgoing[CHANGES].pop(4),
        lambda o: _again(o, CHANGES),
        _swap_order,
        lambda o: _say(o.outgoing[CHANGES][0], b'"unlimited":', b'"unlimitde":'),
        lambda o: o.outgoing[CHANGES][0].headers.pop(4),
        lambda o: setattr(o.outgoing[CHANGES][0], "key", b"another"),
        lambda o: o.entries[0].update(occurred_at=o.entries[0]["recorded_at"]),
    ],
    "declines out": [
        lambda o: o.outgoing[DECLINES].pop(0),
        lambda o: _again(o, DECLINES),
        lambda o: _say(o.outgoing[DECLINES][0], b'"required":1', b'"required":2'),
    ],
    "dead letters out": [
        lambda o: o.outgoing[DEAD_LETTERS].pop(0),
        lambda o: _again(o, DEAD_LETTERS),
        lambda o: setattr(o.outgoing[DEAD_LETTERS][0], "value", b"else"),
    ],
    "outbox": [lambda o: o.outbox.append({"outbox_id": 1})],
    "offsets": [
        lambda o: o.committed.update({next(iter(o.ends)): 10_000}),
        lambda o: o.offsets[0].update(next_offset=10_000),
        lambda o: o.offsets[0].update(next_offset=0),
    ],
}


@pytest.fixture
async def played(deployment: Deployment) -> Deployment:
    """A deployment that has decided some traffic, and is left alone."""
    await deployment.make_topics()
    async with deployment.upstream() as upstream:
        await upstream.send(random_traffic(4))
        await upstream.send_raw("email-bounced", b"not json")
    service = await deployment.start()
    await deployment.oracle().check()
    assert await service.terminate() == 0
    return deployment


async def test_every_promise_complains_when_it_is_broken(played: Deployment) -> None:
    observed = await played.oracle().observe()
    assert violations(observed) == []
    silent = []
    for promise, tampers in TAMPERED.items():
        for number, tamper in enumerate(tampers):
            broken = copy.deepcopy(observed)
            tamper(broken)
            if not any(told.startswith(f"{promise}:") for told in violations(broken)):
                silent.append(f"{promise}, tampering {number}")
    assert silent == []


async def test_the_servers_themselves_are_read(played: Deployment) -> None:
    oracle = played.oracle()
    before = await oracle.observe()
    last = before.outgoing[CHANGES][-1]
    again = {"value": last.value, "key": last.key, "headers": last.headers, "partition": last.place[1]}

    producer = AIOKafkaProducer(bootstrap_servers=played.kafka, transactional_id=played.topic("test"))
    await producer.start()
    await producer.begin_transaction()
    await producer.send_and_wait(last.place[0], **again)
    await producer.abort_transaction()
    assert violations(await oracle.observe()) == []  # what was not committed is not seen
    async with producer.transaction():
        await producer.send_and_wait(last.place[0], **again)
    await producer.stop()

    connection = await asyncpg.connect(played.database_url)
    await connection.execute("UPDATE credits.accounts SET balance = balance + 1")
    await connection.close()

    partition = TopicPartition(*next(place for place, end in before.ends.items() if end))
    consumer = AIOKafkaConsumer(bootstrap_servers=played.kafka, group_id=played.group, enable_auto_commit=False)
    await consumer.start()
    consumer.assign([partition])
    await consumer.commit({partition: 10_000})
    await consumer.stop()

    broken = {line.partition(":")[0] for line in violations(await oracle.observe())}
    assert broken == {"balance", "changes out", "offsets"}

    async with played.upstream() as upstream:
        await upstream.send_raw("email-bounced", b"not json")
    with pytest.raises(AssertionError, match=r"is read up to|is committed up to"):
        await oracle.drained(3)
