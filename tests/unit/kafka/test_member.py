"""How partitions are opened, and which status is set meanwhile, without a broker."""

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
from credit_service.kafka.access.probe import AccessReport
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.consume.assignment import Assignment
from credit_service.kafka.consume.broker_watch import BrokerWatch
from credit_service.kafka.consume.lost_commits import LostCommits
from credit_service.kafka.consume.member import Member
from credit_service.kafka.consume.membership import Membership
from credit_service.kafka.consume.opener import PartitionOpener
from credit_service.kafka.consume.read_state import ReadState
from support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection
    from uuid import UUID

    from credit_service.application.ports import Positions

TOPIC = "prospect-generated"
ZERO, ONE, TWO = (TopicPartition(TOPIC, number) for number in range(3))


class Surroundings:
    """Stands in for the timers, the subscriber, its consumer, the stored offsets, and the access watch."""

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
    def suspend(self, _: Any) -> None: ...
    def open(self, *_: Any) -> None: ...
    def resume(self, *_: Any) -> None: ...

    def assignment(self) -> set[Any]:
        return self.assigned

    def partitions_for_topic(self, _: str) -> set[int]:
        return {0, 1, 2}

    def brokers_are_silent(self) -> bool:
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

    async def start_positions(self, _: Any, __: Any, partitions: Collection[Any], ___: Any) -> Positions:
        self.tries += 1
        if self.ledger_is_away:
            raise LedgerUnavailable("gone")
        if self.leaderless & set(partitions):
            raise KafkaTimeoutError
        return dict.fromkeys(map(tuple, partitions), 7)


@pytest.fixture
def around(monkeypatch: pytest.MonkeyPatch) -> Surroundings:
    around = Surroundings()
    monkeypatch.setattr("credit_service.kafka.consume.opener.start_positions", around.start_positions)
    for module in ("member", "opener"):
        monkeypatch.setattr(f"credit_service.kafka.consume.{module}.RETRY_SECONDS", 0.01)
    return around


@pytest.fixture
def status() -> Status:
    return Status({})


class Parts:
    """The parts of an intake that need neither a ledger nor a broker."""

    def __init__(self, around: Surroundings, status: Status) -> None:
        of_all, abandon = cast("Any", around), asyncio.Event()
        connection, membership = KafkaConnection("h:1", "g"), Membership()
        membership.subscriber = of_all
        lanes = Lanes(lambda: of_all, LedgerClock())
        self.membership = membership
        self.state = ReadState(connection, membership, lanes, {}, status)
        self.opener = PartitionOpener(connection, self.state, of_all, of_all, status)
        self.brokers = BrokerWatch(connection, self.state, self.opener, of_all, status)
        self.lost_commits = LostCommits(self.state, self.opener, of_all)
        assignment = Assignment(self.state, self.opener, abandon)
        self.member = Member(connection, lambda _: None, self.state, assignment, of_all, status)


@pytest.fixture
async def parts(around: Surroundings, status: Status) -> AsyncIterator[Parts]:
    parts = Parts(around, status)
    yield parts
    await parts.opener.cancel()


def opened(parts: Parts) -> set[Any]:
    return set(parts.state.received)


async def test_all_are_opened_at_once(parts: Parts, around: Surroundings, status: Status) -> None:
    await parts.member.on_partitions_assigned(around.assigned)
    await eventually(lambda: not parts.opener.opening)
    assert opened(parts) == {ZERO, ONE, TWO}
    assert around.tries == 1
    assert status.problems == {}


async def test_one_without_a_leader_does_not_hold_up_the_others(
    parts: Parts, around: Surroundings, status: Status
) -> None:
    around.leaderless = {ZERO}
    await parts.member.on_partitions_assigned(around.assigned)
    await eventually(lambda: parts.opener.opening == {0})
    assert opened(parts) == {ONE, TWO}
    assert status.problems == {"partitions": "partitions could not be opened yet"}

    around.leaderless = set()
    await eventually(lambda: not parts.opener.opening)
    assert opened(parts) == {ZERO, ONE, TWO}
    assert status.problems == {}


async def test_another_that_is_opened_does_not_make_it_ready(
    parts: Parts, around: Surroundings, status: Status
) -> None:
    around.leaderless = {ZERO}
    parts.opener.open_again({ZERO})
    await eventually(lambda: status.problems)
    parts.opener.open_again({ONE})
    await eventually(lambda: opened(parts) == {ONE})
    await eventually(lambda: parts.opener.opening == {0})
    assert status.problems


async def test_two_that_end_in_the_same_turn_of_the_loop_make_it_ready(parts: Parts, status: Status) -> None:
    status.set("partitions", "no partitions are assigned yet")
    parts.opener.open_again({ZERO})
    parts.opener.open_again({ONE})
    await eventually(lambda: not parts.opener.opening)
    assert status.problems == {}


async def test_nor_does_one_that_ends_while_partitions_are_shared_out(
    parts: Parts, around: Surroundings, status: Status
) -> None:
    around.leaderless = {ZERO}
    parts.opener.open_again({ZERO})
    await eventually(lambda: status.problems)
    parts.membership.is_rejoining = True
    around.leaderless = set()
    await eventually(lambda: not parts.opener.opening)
    assert status.problems


async def test_while_the_ledger_is_away_they_stay_together_and_kafka_is_not_suspected(
    parts: Parts, around: Surroundings, status: Status
) -> None:
    around.ledger_is_away = True
    await parts.member.on_partitions_assigned(around.assigned)
    await eventually(lambda: around.tries > 2)
    assert len(parts.opener._tasks) == 1
    assert around.suspicions == 0
    around.ledger_is_away = False
    await eventually(lambda: not parts.opener.opening)
    assert status.problems == {}


async def test_who_stands_by_hears_by_asking(parts: Parts, around: Surroundings, status: Status) -> None:
    parts.brokers.look()
    assert status.problems == {}
    around.is_answered = False
    parts.brokers.look()
    assert status.problems == {"kafka": "no broker answers"}
    around.fetches = [ONE]  # for which a broker has answered
    parts.brokers.look()
    assert status.problems == {}


@pytest.mark.parametrize(
    ("knows_all_ends", "leaderless", "excuse"),
    [
        (True, [TOPIC], None),
        (False, [TOPIC], f"partitions have no leader: {TOPIC}"),
        (False, [], None),
    ],
)
async def test_a_partition_that_nobody_leads_is_an_excuse(
    knows_all_ends: bool, leaderless: list[str], excuse: str | None, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look(*_: object) -> AccessReport:
        return AccessReport(leaderless=leaderless)

    monkeypatch.setattr("credit_service.kafka.consume.broker_watch.inspect", look)
    assert await parts.brokers.excuse(knows_all_ends=knows_all_ends) == excuse


@pytest.mark.parametrize("is_well", [True, False])
async def test_who_can_commit_no_more_joins_again_if_the_group_is_well_without_it(
    is_well: bool, parts: Parts, around: Surroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("credit_service.kafka.consume.member.CUT_OFF_SECONDS", 0.05)
    monkeypatch.setattr("credit_service.kafka.consume.group_offsets.COMMIT_AGAIN_SECONDS", 0.01)
    monkeypatch.setattr("credit_service.kafka.consume.member.Subscriber", lambda *_, **__: around)
    await parts.member.on_partitions_assigned(around.assigned)
    await eventually(lambda: not parts.opener.opening)
    around.takes_offsets, around.is_coordinated = False, is_well
    looking_after = [
        asyncio.create_task(parts.member.stay_in()),
        asyncio.create_task(parts.member.keep_group_offsets()),
    ]
    try:
        if is_well:
            await eventually(lambda: around.stopped and parts.membership.is_in)
        else:
            await eventually(lambda: parts.state.group_offsets.failing_seconds > 0.2)
        assert around.stopped == is_well
        assert bool(parts.state.group_offsets.failing_seconds) is not is_well
    finally:
        for task in looking_after:
            task.cancel()
        await asyncio.gather(*looking_after, return_exceptions=True)


async def test_who_is_cut_off_waits_while_partitions_are_shared_out_anew(parts: Parts) -> None:
    parts.state.group_offsets._failing_since = 0.0
    assert parts.member.is_cut_off
    parts.membership.is_rejoining = True
    assert not parts.member.is_cut_off


async def test_another_server_is_asked_at_once_what_it_has(
    parts: Parts, around: Surroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("credit_service.kafka.consume.lost_commits.READ_EVERY_SECONDS", 3600.0)
    around.assigned = {ZERO}
    await parts.member.on_partitions_assigned(around.assigned)
    await eventually(lambda: not parts.opener.opening)
    lane = parts.state.lanes.of(ZERO)
    around.stored = {ZERO: 7}
    assert await parts.lost_commits.look(lane)
    is_same_server = parts.lost_commits.same_server(lane)
    around.stored = {ZERO: 5}
    assert await parts.lost_commits.look(lane), "the same one is asked now and then"
    assert not parts.opener.opening

    around.moved += 1
    assert not is_same_server()
    around.ledger_is_away = True
    assert not await parts.lost_commits.look(lane), "it is not known what it has"
    around.ledger_is_away, around.moves_while_asked = False, True
    assert not await parts.lost_commits.look(lane), "it may be another one that was asked"
    await eventually(lambda: not parts.opener.opening)
    around.moves_while_asked = False
    assert await parts.lost_commits.look(lane)
    assert parts.opener.opening == {0}
    assert parts.lost_commits.same_server(lane)()
