"""How a member opens its partitions, and what it says meanwhile, without a broker."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaTimeoutError

from credit_service.application.errors import LedgerUnavailable
from credit_service.application.processing.arrival import LedgerClock
from credit_service.application.processing.lane import Lanes
from credit_service.application.readiness import Status
from credit_service.kafka.access.probe import Seen
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.consume.member import Member
from support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection
    from uuid import UUID

    from credit_service.application.ports import Positions

TOPIC = "prospect-generated"
ZERO, ONE, TWO = (TopicPartition(TOPIC, number) for number in range(3))


class Surroundings:
    """Stands in for the timers, the subscriber, its consumer, the stored offsets, and the watch of the access."""

    def __init__(self) -> None:
        self.partitions = 0
        self.is_running = True
        self.consumer = self
        self.assigned = {ZERO, ONE, TWO}
        self.leaderless: set[Any] = set()
        self.ledger_is_away = False
        self.is_answered = True
        self.is_coordinated = True
        self.reading = False
        self.takes_offsets = True
        self.stopped = 0
        self.silent = False
        self.fetches: list[Any] = []
        self.suspicions = 0
        self.tries = 0
        self.moved = 0
        self.moves_while_asked = False
        self.stored: dict[Any, int] = {}

    def forget(self, _: int) -> None: ...
    def close_partitions(self, _: Any) -> None: ...
    def leave_alone(self, _: Any) -> None: ...
    def open(self, *_: Any) -> None: ...
    def resume(self, *_: Any) -> None: ...

    def assignment(self) -> set[Any]:
        return self.assigned

    def partitions_for_topic(self, _: str) -> set[int]:
        return {0, 1, 2}

    def hears_nothing(self) -> bool:
        return self.silent

    async def start(self) -> None: ...
    async def ask(self) -> None: ...

    async def until_time(self) -> None:
        await asyncio.sleep(0)

    async def stop(self) -> None:
        self.stopped += 1
        self.is_running = self.takes_offsets = True

    async def commit(self, _: Any) -> None:
        if not self.takes_offsets:
            raise KafkaTimeoutError

    def suspect(self) -> None:
        self.suspicions += 1

    async def note_read(self, until: dict[int, datetime | None], partitions: int) -> datetime:
        assert (until, partitions) == ({}, 1), "it only asks for the clock"
        return datetime(2026, 1, 1, tzinfo=UTC)

    async def paused_topics(self) -> set[str]:
        return set()

    async def load(self, _: Any) -> dict[Any, int]:
        self.moved += self.moves_while_asked
        if self.ledger_is_away:
            raise LedgerUnavailable("gone")
        return self.stored

    async def ask_for_topic_ids(self) -> dict[str, UUID]:
        return {}

    async def opening_positions(self, _: Any, __: Any, partitions: Collection[Any], ___: Any) -> Positions:
        self.tries += 1
        if self.ledger_is_away:
            raise LedgerUnavailable("gone")
        if self.leaderless & set(partitions):
            raise KafkaTimeoutError
        return dict.fromkeys(map(tuple, partitions), 7)


@pytest.fixture
def around(monkeypatch: pytest.MonkeyPatch) -> Surroundings:
    around = Surroundings()
    monkeypatch.setattr("credit_service.kafka.consume.member.opening_positions", around.opening_positions)
    monkeypatch.setattr("credit_service.kafka.consume.member.RETRY_SECONDS", 0.01)
    return around


@pytest.fixture
def status() -> Status:
    return Status({})


@pytest.fixture
async def member(around: Surroundings, status: Status) -> AsyncIterator[Member]:
    of_all = cast("Any", around)
    lanes = Lanes(lambda: of_all, LedgerClock())
    member = Member(KafkaConnection("h:1", "g"), lambda _: None, lanes, of_all, {}, asyncio.Event(), status, of_all)
    member._subscriber = of_all
    yield member
    await member._cancel_opening()


def opened(member: Member) -> set[Any]:
    return set(member.received)


async def test_all_are_opened_at_once(member: Member, around: Surroundings, status: Status) -> None:
    await member.on_partitions_assigned(around.assigned)
    await eventually(lambda: not member.opening)
    assert opened(member) == {ZERO, ONE, TWO}
    assert around.tries == 1
    assert status.problems == {}


async def test_one_without_a_leader_does_not_hold_up_the_others(
    member: Member, around: Surroundings, status: Status
) -> None:
    around.leaderless = {ZERO}
    await member.on_partitions_assigned(around.assigned)
    await eventually(lambda: member.opening == {0})
    assert opened(member) == {ONE, TWO}
    assert status.problems == {"partitions": "partitions could not be opened yet"}

    around.leaderless = set()
    await eventually(lambda: not member.opening)
    assert opened(member) == {ZERO, ONE, TWO}
    assert status.problems == {}


async def test_another_that_is_opened_does_not_make_it_ready(
    member: Member, around: Surroundings, status: Status
) -> None:
    around.leaderless = {ZERO}
    member.open_again({ZERO})
    await eventually(lambda: status.problems)
    member.open_again({ONE})
    await eventually(lambda: opened(member) == {ONE})
    await eventually(lambda: member.opening == {0})
    assert status.problems


async def test_two_that_end_in_the_same_turn_of_the_loop_make_it_ready(member: Member, status: Status) -> None:
    status.set("partitions", "no partitions are assigned yet")
    member.open_again({ZERO})
    member.open_again({ONE})
    await eventually(lambda: not member.opening)
    assert status.problems == {}


async def test_nor_does_one_that_ends_while_partitions_are_shared_out(
    member: Member, around: Surroundings, status: Status
) -> None:
    around.leaderless = {ZERO}
    member.open_again({ZERO})
    await eventually(lambda: status.problems)
    member.is_rejoining = True
    around.leaderless = set()
    await eventually(lambda: not member.opening)
    assert status.problems


async def test_while_the_ledger_is_away_they_stay_together_and_kafka_is_not_suspected(
    member: Member, around: Surroundings, status: Status
) -> None:
    around.ledger_is_away = True
    await member.on_partitions_assigned(around.assigned)
    await eventually(lambda: around.tries > 2)
    assert len(member._opening) == 1
    assert around.suspicions == 0
    around.ledger_is_away = False
    await eventually(lambda: not member.opening)
    assert status.problems == {}


async def test_who_stands_by_hears_by_asking(member: Member, around: Surroundings, status: Status) -> None:
    member.look_for_brokers()
    assert status.problems == {}
    around.is_answered = False
    member.look_for_brokers()
    assert status.problems == {"kafka": "no broker answers"}
    around.fetches = [ONE]  # which has been heard of
    member.look_for_brokers()
    assert status.problems == {}


@pytest.mark.parametrize(
    ("is_told_of_all", "leaderless", "excuse"),
    [
        (True, [TOPIC], None),
        (False, [TOPIC], f"partitions have no leader: {TOPIC}"),
        (False, [], None),
    ],
)
async def test_a_partition_that_nobody_leads_is_an_excuse(
    is_told_of_all: bool, leaderless: list[str], excuse: str | None, member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look(*_: object) -> Seen:
        return Seen(leaderless=leaderless)

    monkeypatch.setattr("credit_service.kafka.consume.member.inspect", look)
    assert await member.excuse(is_told_of_all=is_told_of_all) == excuse


@pytest.mark.parametrize("is_well", [True, False])
async def test_who_can_commit_no_more_joins_again_if_the_group_is_well_without_it(
    is_well: bool, member: Member, around: Surroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("credit_service.kafka.consume.member.CUT_OFF_SECONDS", 0.05)
    monkeypatch.setattr("credit_service.kafka.consume.group_offsets.COMMIT_AGAIN_SECONDS", 0.01)
    monkeypatch.setattr("credit_service.kafka.consume.member.Subscriber", lambda *_, **__: around)
    await member.on_partitions_assigned(around.assigned)
    await eventually(lambda: not member.opening)
    around.takes_offsets, around.is_coordinated = False, is_well
    looking_after = [asyncio.create_task(member.stay_in()), asyncio.create_task(member.keep_group_offsets())]
    try:
        if is_well:
            await eventually(lambda: around.stopped and member.is_in)
        else:
            await eventually(lambda: member.group_offsets.failing_seconds > 0.2)
        assert around.stopped == is_well
        assert bool(member.group_offsets.failing_seconds) is not is_well
    finally:
        for task in looking_after:
            task.cancel()
        await asyncio.gather(*looking_after, return_exceptions=True)


async def test_who_is_cut_off_waits_while_partitions_are_shared_out_anew(member: Member) -> None:
    member.group_offsets._failing_since = 0.0
    assert member.is_cut_off
    member.is_rejoining = True
    assert not member.is_cut_off


async def test_another_server_is_asked_at_once_what_it_has(
    member: Member, around: Surroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("credit_service.kafka.consume.member.STORED_READ_EVERY_SECONDS", 3600.0)
    around.assigned = {ZERO}
    await member.on_partitions_assigned(around.assigned)
    await eventually(lambda: not member.opening)
    lane = member._lanes.of(ZERO)
    around.stored = {ZERO: 7}
    assert await member.look_for_lost_commits(lane)
    stands = member.grounds_of(lane)
    around.stored = {ZERO: 5}
    assert await member.look_for_lost_commits(lane), "the same one is asked now and then"
    assert not member.opening

    around.moved += 1
    assert not stands()
    around.ledger_is_away = True
    assert not await member.look_for_lost_commits(lane), "it is not known what it has"
    around.ledger_is_away, around.moves_while_asked = False, True
    assert not await member.look_for_lost_commits(lane), "it may be another one that was asked"
    await eventually(lambda: not member.opening)
    around.moves_while_asked = False
    assert await member.look_for_lost_commits(lane)
    assert member.opening == {0}
    assert member.grounds_of(lane)()
