"""The oracle sees what is broken: a run that holds is tampered with, and each promise complains."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from credit_contracts.envelope import Event
from credit_contracts.incoming import (
    WRONG_EMAIL,
    EmailBounced,
    IncomingData,
    PlanChanged,
    ProspectGenerated,
    ProspectStageChanged,
)
from support.observed import CHANGES, DEAD_LETTERS, DECLINES, Message, Observed
from support.promises import violations
from support.service import Deployment
from support.traffic import event, random_traffic
from support.wait import eventually

Tamper = Callable[[Observed], object]


def _first(rows: list[dict[str, object]], **having: object) -> dict[str, object]:
    found = [row for row in rows if all(row[name] == value for name, value in having.items())]
    assert found, f"nothing has {having}"
    return found[0]


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


def _charge_an_imported_one(o: Observed) -> None:
    """A charge becomes that of the import of another prospect."""
    imported = _first(o.decisions, outcome="imported")
    _first(o.entries, reason="charge", account_id=imported["account_id"])["position"] = imported["position"]


def _free_with_a_charge(o: Observed) -> None:
    """A charge goes to another decision on the same prospect, which was never deleted."""
    deleted = {(d["account_id"], d["prospect_id"]) for d in o.decisions if d["type"] == "prospect-deleted"}
    for free in (d for d in o.decisions if d["outcome"] == "free"):
        of = {"account_id": free["account_id"], "prospect_id": free["prospect_id"]}
        charged = [d for d in o.decisions if d["outcome"] == "charged" and d.items() >= of.items()]
        if charged and (of["account_id"], of["prospect_id"]) not in deleted:
            entry = _first(o.entries, reason="charge", account_id=free["account_id"], position=charged[0]["position"])
            entry["position"] = free["position"]
            return
    raise AssertionError("nothing was free")


def _refund_of(o: Observed, account_id: str, position: int, charge: int) -> None:
    """One refund more, of that charge, by that decision."""
    last = [e for e in o.entries if e["account_id"] == account_id][-1]
    more = {"sequence": last["sequence"] + 1, "line": 0, "position": position, "reason": "refund"}
    o.entries.append({**last, **more, "refunds_sequence": charge})
    o.entries.sort(key=lambda e: (e["account_id"], e["sequence"], e["line"]))


def _open_prospect(o: Observed, *, origin: str, bounces: int) -> dict[str, object]:
    """A prospect that was brought in by hand, and bounced."""
    account = o.accounts[0]
    opened = _first(o.decisions, account_id=account["account_id"], type="prospect-generated") | {
        "position": 9_000, "source": "/credit-service", "id": "opening:prospect:old", "type": "opening",
        "outcome": "opened", "prospect_id": "old", "note": origin, "partition": None, "offset": None,
    }  # fmt: skip
    o.decisions.append(opened)
    bounced = {"source": "/mailer", "type": "email-bounced", "outcome": "refunded", "partition": 0, "offset": 9_000}
    o.decisions += [opened | bounced | {"position": 9_001 + number} for number in range(bounces)]
    o.decisions.sort(key=lambda d: (d["account_id"], d["position"]))
    return opened


def _refund_an_opened_one(o: Observed, *, times: int, origin: str = "generated") -> None:
    opened = _open_prospect(o, origin=origin, bounces=times)
    for number in range(times):
        _refund_of(o, str(opened["account_id"]), 9_001 + number, -9_000)


def _request(o: Observed, status: str) -> dict[str, object]:
    return _first(o.requests, status=status)


def _wait_though_refunded(o: Observed) -> None:
    _request(o, "overtaken")["status"] = "waiting"


def _ask_for_a_refund_twice(o: Observed) -> None:
    o.requests.append(dict(_request(o, "waiting")))


def _approve(o: Observed, **changed: object) -> None:
    """As if by hand, with the decision and without the refund."""
    request = _request(o, "waiting")
    last = max(d["position"] for d in o.decisions if d["account_id"] == request["account_id"])
    request.update(status="approved", operator="ops", reason="asked for", decided_position=last + 1)
    asked = _first(o.decisions, account_id=request["account_id"], position=request["position"])
    o.decisions.append(
        asked | {"position": last + 1, "type": "refund-approved", "outcome": "refunded", "source": "/credit-service"}
    )
    request.update(changed)
    o.decisions.sort(key=lambda d: (d["account_id"], d["position"]))


def _counted(o: Observed) -> dict[str, object]:
    return _first(o.purchases)


def _grant_of_a_purchase(o: Observed) -> dict[str, object]:
    return _first(o.grants, origin="purchase")


def _count_a_purchase_again(o: Observed) -> None:
    """By the decision that said that it was counted before."""
    again = _first(o.decisions, type="credits-purchased", outcome="no-effect")
    o.purchases.append({**_counted(o), "account_id": again["account_id"], "position": again["position"]})


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
        lambda o: _first(o.grants, open=False).update(expires_at=None),
    ],
    "causes": [
        _charge_an_imported_one,
        lambda o: _first(o.entries, reason="purchase").update(reason="opening"),
        lambda o: _first(o.entries, reason="lapse").update(position=1),
        lambda o: _first(o.entries, reason="charge").update(position=8_000),
    ],
    "charges": [
        _charge_twice,
        _refund_twice,
        _free_with_a_charge,
        _charge_an_imported_one,
        lambda o: _first(o.decisions, outcome="charged").update(prospect_id="another"),
        lambda o: _refund_an_opened_one(o, times=2),
        lambda o: _refund_an_opened_one(o, times=1, origin="imported"),
    ],
    "prospects": [
        lambda o: _first(o.decisions, outcome="charged").update(outcome="free"),
        lambda o: _first(o.decisions, outcome="deleted").update(outcome="no-effect"),
        lambda o: _first(o.decisions, outcome="imported").update(outcome="no-effect"),
        lambda o: _first(o.decisions, outcome="awaiting-charge").update(outcome="no-effect"),
        lambda o: _first(o.decisions, outcome="refund-requested").update(outcome="no-effect"),
        lambda o: o.entries.remove(_first(o.entries, reason="charge")),
        lambda o: o.entries.remove(_first(o.entries, reason="refund")),
        lambda o: o.requests.pop(0),
        _charge_an_imported_one,
    ],
    "requests": [
        _ask_for_a_refund_twice,
        _wait_though_refunded,
        _approve,
        lambda o: _approve(o, operator=None),
        lambda o: _approve(o, decided_position=1),
        lambda o: _request(o, "waiting").update(charge_sequence=9_999),
        lambda o: _request(o, "waiting").update(prospect_id="another"),
        lambda o: _request(o, "waiting").update(position=1),
        lambda o: _request(o, "waiting").update(status="overtaken"),
        lambda o: _request(o, "waiting").update(operator="ops"),
        lambda o: _first(o.decisions, outcome="no-effect").update(type="refund-rejected", outcome="rejected"),
        lambda o: o.requests.remove(
            next(
                r
                for r in o.requests
                if _first(o.decisions, account_id=r["account_id"], position=r["position"])["outcome"]
                == "refund-requested"
            )
        ),
    ],
    "purchases": [
        lambda o: o.purchases.append(dict(_counted(o))),
        lambda o: o.purchases.pop(0),
        lambda o: _counted(o).update(position=1),
        lambda o: _counted(o).update(purchase_id="another"),
        _count_a_purchase_again,
        lambda o: _grant_of_a_purchase(o).update(amount=1_000_000),
        lambda o: _grant_of_a_purchase(o).update(expires_at=o.decisions[0]["occurred_at"]),
        lambda o: o.grants.remove(_grant_of_a_purchase(o)),
        lambda o: _first(o.grants, origin="plan").update(origin="purchase"),
        lambda o: _first(o.decisions, outcome="purchased").update(outcome="no-effect"),
        lambda o: _first(o.entries, reason="purchase").update(reason="plan_change"),
    ],
    "declines": [_decline_with_credits],
    "positions": [
        lambda o: o.decisions.pop(3),
        lambda o: o.decisions[3].update(position=10_000),
        lambda o: o.decisions.append(dict(_first(o.decisions, type="renewal"))),
    ],
    "inputs": [
        lambda o: o.decisions.pop(2),
        lambda o: o.incoming.pop(7),
        lambda o: o.decisions[2].update(offset=999_999),
        lambda o: o.dead_letters.pop(),
        lambda o: o.dead_letters.append(o.dead_letters[0]),
        lambda o: o.dead_letters[0].update(value=b"else"),
        lambda o: o.dead_letters[0].update(offset=999_999),
        lambda o: _first(o.decisions, type="renewal").update(source="/somebody"),
        lambda o: _first(o.decisions, type="renewal").update(outcome="refunded"),
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
        lambda o: next(row for row in o.offsets if row["next_offset"]).update(next_offset=0),
    ],
}


def overtaken() -> list[Event[IncomingData]]:
    """A request for a refund, which the mailer's word then overtakes; in random traffic it may not come to that."""
    prospect: dict[str, Any] = {"account_id": "overtaken", "prospect_id": "p"}
    told: list[IncomingData] = [
        PlanChanged(account_id="overtaken", plan_id="p", monthly_credits=5),
        ProspectGenerated(**prospect),
        ProspectStageChanged(**prospect, stage=WRONG_EMAIL),
        EmailBounced(**prospect),
    ]
    began = datetime.now(UTC) - timedelta(hours=1)
    return [event(data, began + timedelta(minutes=number)) for number, data in enumerate(told)]


@pytest.fixture
async def played(deployment: Deployment) -> Deployment:
    """A deployment that has decided some traffic, and is left alone."""
    await deployment.make_topics()
    async with deployment.upstream() as upstream:
        await upstream.send(random_traffic(4, events=300))
        await upstream.send(overtaken())
        await upstream.send_raw("email-bounced", b"not json")
    service = await deployment.start()
    await deployment.oracle().check()
    assert await service.terminate() == 0
    return deployment


async def test_every_promise_complains_when_it_is_broken(played: Deployment) -> None:
    observed = await played.oracle().observe()
    assert violations(observed) == []
    silent = []
    kept = pickle.dumps(observed)  # a copy from it takes a fifth of the time of a deep copy
    for promise, tampers in TAMPERED.items():
        for number, tamper in enumerate(tampers):
            broken = pickle.loads(kept)  # noqa: S301 - our own
            tamper(broken)
            if not any(told.startswith(f"{promise}:") for told in violations(broken)):
                silent.append(f"{promise}, tampering {number}")
    assert silent == []
    opened = copy.deepcopy(observed)
    _refund_an_opened_one(opened, times=1)
    assert not [told for told in violations(opened) if told.startswith(("charges:", "causes:", "prospects:"))]


async def test_the_servers_themselves_are_read(played: Deployment) -> None:
    oracle = played.oracle()
    before = await oracle.observe()
    last = before.outgoing[CHANGES][-1]
    again = {"value": last.value, "key": last.key, "headers": last.headers, "partition": last.place[1]}

    producer = AIOKafkaProducer(bootstrap_servers=played.kafka, transactional_id=played.topic("test"))
    try:
        await producer.start()
        await producer.begin_transaction()
        await producer.send_and_wait(last.place[0], **again)
        await producer.abort_transaction()
        assert violations(await oracle.observe()) == []  # what was not committed is not seen
        async with producer.transaction():
            await producer.send_and_wait(last.place[0], **again)
    finally:
        await producer.stop()

    async def is_seen() -> bool:
        return not (await oracle.observe()).open_ends

    await eventually(is_seen)

    connection = await asyncpg.connect(played.database_url)
    await connection.execute("UPDATE credits.accounts SET balance = balance + 1")
    await connection.close()

    # A member that could not say that it leaves would forbid this.
    await played.forget_members()
    partition = TopicPartition(*next(place for place, end in before.ends.items() if end))
    consumer = AIOKafkaConsumer(bootstrap_servers=played.kafka, group_id=played.group, enable_auto_commit=False)
    try:
        await consumer.start()
        consumer.assign([partition])
        await consumer.commit({partition: 10_000})
    finally:
        await consumer.stop()

    broken = {line.partition(":")[0] for line in violations(await oracle.observe())}
    assert broken == {"balance", "changes out", "offsets"}

    async with played.upstream() as upstream:
        await upstream.send_raw("email-bounced", b"not json")
    with pytest.raises(AssertionError, match=r"is read up to|is committed up to"):
        await oracle.drained(3)
