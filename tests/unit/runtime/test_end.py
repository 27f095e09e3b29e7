"""The end of a process: others get its partitions while it still publishes, and it does not publish for ever."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from credit_service.application.ports import Claim, WaitingEvent
from credit_service.bootstrap.shutdown import end
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.publish import relay
from credit_service.kafka.publish.claim_transaction import ClaimTransaction
from credit_service.kafka.publish.relay import Relay
from support.patience import patience

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BUDGET_SECONDS = patience(400.0)
"""So much that a part which waits for its share of it is not done within the time of this test."""
WITHIN_SECONDS = 30.0


async def test_the_group_is_left_while_the_relay_has_something_to_publish() -> None:
    left = asyncio.Event()
    stopped: list[str] = []

    async def leave() -> None:
        left.set()

    async def intake() -> None: ...

    intake_part = SimpleNamespace(stop=lambda: stopped.append("intake"), leave=leave)
    parts = SimpleNamespace(intake=intake_part, relay=SimpleNamespace(stop=lambda: stopped.append("relay")))
    tasks = [asyncio.create_task(intake()), asyncio.create_task(cast("Any", left.wait()))]
    await asyncio.wait_for(end(cast("Any", parts), tasks, BUDGET_SECONDS), patience(WITHIN_SECONDS))
    assert stopped == ["intake", "relay"]
    assert left.is_set()


class Endless:
    """An outbox into which others put something all the time; `full` claims have no room for more rows, or bytes."""

    def __init__(self, *, full: int = 0, is_cut: bool = False) -> None:
        self.claims = 0
        self.full = full
        self.is_cut = is_cut

    @asynccontextmanager
    async def lead(self, _notified: Any) -> AsyncIterator[Endless]:
        yield self

    async def left_over(self) -> None: ...
    async def published(self, _claim: Claim) -> None: ...

    async def claim(self, rows_max: int, _bytes_max: int, _but: Any) -> Claim:
        self.claims += 1
        await asyncio.sleep(0)
        is_full = self.claims <= self.full
        rows = rows_max if is_full and not self.is_cut else 1
        waiting = [cast("WaitingEvent", SimpleNamespace(topic="t"))] * rows
        return Claim(str(self.claims), waiting, list(range(rows)), is_full and self.is_cut)


def relay_of(outbox: Endless, monkeypatch: pytest.MonkeyPatch) -> Relay:
    @asynccontextmanager
    async def producer(_: Relay) -> AsyncIterator[None]:
        yield

    async def publish(*_: Any) -> None: ...

    monkeypatch.setattr(Relay, "_fenced_producer", producer)
    monkeypatch.setattr(ClaimTransaction, "publish", publish)
    access = SimpleNamespace(publishing=False)
    return Relay(KafkaConnection("h:1", "g"), cast("Any", outbox), cast("Any", access))


async def test_a_relay_that_is_to_end_lets_another_lead_though_there_is_ever_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay, "HAND_OVER_SECONDS", 0.02)
    outbox = Endless()
    publishing = relay_of(outbox, monkeypatch)
    task = asyncio.create_task(publishing.run())
    while outbox.claims < 5:  # noqa: ASYNC110 - it works all the time
        await asyncio.sleep(0)
    publishing.stop()
    await asyncio.wait_for(task, patience(WITHIN_SECONDS))


@pytest.mark.parametrize("is_cut", [False, True], ids=["by-rows", "by-bytes"])
async def test_it_publishes_first_all_that_had_waited(monkeypatch: pytest.MonkeyPatch, is_cut: bool) -> None:
    monkeypatch.setattr(relay, "HAND_OVER_SECONDS", -1.0)
    outbox = Endless(full=5, is_cut=is_cut)
    publishing = relay_of(outbox, monkeypatch)
    task = asyncio.create_task(publishing.run())
    while not outbox.claims:  # noqa: ASYNC110 - it works all the time
        await asyncio.sleep(0)
    publishing.stop()
    await asyncio.wait_for(task, patience(WITHIN_SECONDS))
    assert outbox.claims == 6
