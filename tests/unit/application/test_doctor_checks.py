"""The doctor's checks: each threshold, and states that a broker alone cannot show."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from credit_service.application.auth.tokens import Scope, Token, sha256_of
from credit_service.application.doctor import database_checks, kafka_checks, ledger_checks, reading_checks
from credit_service.application.doctor.check import RECENT_SECONDS, Check
from credit_service.application.doctor.facts import (
    BacklogFacts,
    BeingOpened,
    Bounds,
    ClusterFacts,
    Filling,
    Gap,
    MemberFacts,
    OpenOperation,
    ParkedFacts,
    ServerFacts,
    TopicFacts,
    WaitingLetters,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SERVER = ServerFacts("18.1", 180001, "on", "on", "on", is_standby=False)


@pytest.mark.parametrize(
    ("changed", "state"),
    [
        ({}, "ok"),
        ({"synchronous_commit": "remote_apply"}, "ok"),
        ({"synchronous_commit": "local"}, "ok"),
        ({"synchronous_commit": "off"}, "wrong"),
        ({"fsync": "off"}, "wrong"),
        ({"full_page_writes": "off"}, "wrong"),
        ({"is_standby": True}, "wrong"),
    ],
)
def test_durability(changed: dict[str, object], state: str) -> None:
    assert database_checks.durability(SERVER._replace(**changed)).state == state  # type: ignore[arg-type]


@pytest.mark.parametrize(("number", "state"), [(180000, "ok"), (190002, "ok"), (170009, "warning")])
def test_version(number: int, state: str) -> None:
    assert database_checks.version(SERVER._replace(version_number=number)).state == state


@pytest.mark.parametrize(
    ("seconds", "uncertain", "state"),
    [
        (0, 0, "ok"),
        (4.9, 0, "ok"),
        (-4.9, 0, "ok"),
        (5, 0, "warning"),
        (-5, 0, "warning"),
        (59, 0, "warning"),
        (60, 0, "wrong"),
        (-3600, 0, "wrong"),
        (5, 0.1, "ok"),
        (60, 0.1, "warning"),
    ],
)
def test_clock(seconds: float, uncertain: float, state: str) -> None:
    """A slow answer is no difference of clocks."""
    assert database_checks.clock(NOON + timedelta(seconds=seconds), NOON, uncertain).state == state


def cluster(brokers: int, replicas: int, in_sync: int, min_in_sync: int) -> ClusterFacts:
    return ClusterFacts(brokers, {"t": TopicFacts(12, replicas, in_sync, {"min.insync.replicas": str(min_in_sync)})})


@pytest.mark.parametrize(
    ("found", "state", "told"),
    [
        (cluster(1, 1, 1, 1), "ok", "1 copy of each partition on 1 broker"),
        (cluster(3, 3, 3, 2), "ok", "3 copies of each partition on 3 brokers"),
        (cluster(2, 2, 2, 1), "ok", "2 copies of each partition on 2 brokers"),
        (cluster(3, 1, 1, 1), "warning", "one copy only, on 3 brokers: t"),
        (cluster(3, 3, 3, 1), "warning", "min.insync.replicas is below 2: t"),
        (cluster(3, 3, 2, 2), "warning", "copies are not in sync: t"),
        (cluster(3, 2, 2, 3), "wrong", "t has 2 and needs 3 to be written"),
    ],
)
def test_replication(found: ClusterFacts, state: str, told: str) -> None:
    check = kafka_checks.replication(found)
    assert (check.state, check.message) == (state, told)


@pytest.mark.parametrize(
    ("stored", "waiting", "state"),
    [
        ({}, 10_000, "warning"),
        ({("t", 0): 1}, 9_999, "ok"),
        ({("t", 0): 10_000}, 0, "ok"),
        ({("t", 0): 10_005}, 0, "ok"),
    ],
)
def test_lag(stored: dict[tuple[str, int], int], waiting: int, state: str) -> None:
    check = reading_checks.lag(stored, {("t", 0): Bounds(0, 10_000, 10_000)}, [])
    assert check.state == state
    assert check.message == f"waiting to be decided: {f't {waiting:,}' if waiting else 'nothing'}"


def test_lag_is_only_of_what_is_there() -> None:
    assert (
        reading_checks.lag({("t", 0): 5}, {("t", 0): Bounds(90, 100, 100)}, []).message == "waiting to be decided: t 10"
    )


OURS = MemberFacts("g", "h1", 3, is_ours=True)
OTHER = MemberFacts("x", "h2", 3, is_ours=False)


@pytest.mark.parametrize(
    ("found", "state", "told"),
    [
        (
            [*(MemberFacts("g-a", host, 3, True) for host in ("h1", "h2")), MemberFacts("g-b", "h1", 3, True)],
            "warning",
            "several members in group g have one client id: g-a 2",
        ),
        ([MemberFacts("g", "h1", 3, True), MemberFacts("g", "h2", 3, True)], "ok", "2 in group g"),
        ([], "wrong", "group g has no members: no service runs"),
        ([OURS, OURS], "ok", "2 in group g"),
        ([OURS, OTHER._replace(partitions=0)], "ok", "1 in group g"),
        ([OURS, OTHER], "wrong", "strangers in group g hold partitions: client id x on h2 has 3"),
        ([OTHER], "wrong", "strangers in group g hold partitions: client id x on h2 has 3"),
    ],
)
def test_members(found: list[MemberFacts], state: str, told: str) -> None:
    check = reading_checks.members(found, "g")
    assert (check.state, check.message) == (state, told)


def test_offsets_of_topics_that_are_gone_are_named() -> None:
    check = reading_checks.offsets({("t", 0): 7}, {("t", 0): Bounds(5, 10, 10)}, {}, [("t", 0)])
    assert (check.state, check.message) == ("wrong", "topics were made anew since they were read: t/0 at 7")


def test_transactions_that_stay_open_are_named_with_what_lies_behind_them() -> None:
    assert reading_checks.transactions({}, 10).state == "ok"
    pinned = {("t", 1): Bounds(0, 7, 2_007), ("t", 0): Bounds(5, 10, 11)}
    check = reading_checks.transactions(pinned, 10)
    assert check.state == "wrong"
    assert check.message.startswith(
        "open for 10 s or longer: t/0 from offset 10 on, 1 messages, t/1 from offset 7 on, "
    )


@pytest.mark.parametrize(
    ("at", "committed", "state"),
    [(5, 5, "ok"), (10, 9, "ok"), (4, 4, "wrong"), (11, 0, "wrong"), (6, 7, "warning")],
)
def test_offsets(at: int, committed: int, state: str) -> None:
    check = reading_checks.offsets({("t", 0): at}, {("t", 0): Bounds(5, 10, 10)}, {("t", 0): committed})
    assert check.state == state


def test_what_was_never_read_has_no_offset_that_could_be_wrong() -> None:
    assert reading_checks.offsets({}, {("t", 0): Bounds(5, 10, 10)}, {}).state == "ok"


@pytest.mark.parametrize(
    ("check", "state"),
    [
        (ledger_checks.outbox(BacklogFacts(0, None)), "ok"),
        (ledger_checks.outbox(BacklogFacts(9, 59)), "ok"),
        (ledger_checks.outbox(BacklogFacts(9, 60)), "warning"),
        (ledger_checks.outbox(BacklogFacts(9, 600)), "wrong"),
        (ledger_checks.claim(None), "ok"),
        (ledger_checks.claim(59), "ok"),
        (ledger_checks.claim(60), "warning"),
        (ledger_checks.parked(ParkedFacts(0, 0, None), 24), "ok"),
        (ledger_checks.parked(ParkedFacts(3, 1, 3_599), 24), "ok"),
        (ledger_checks.parked(ParkedFacts(3, 1, 3_600), 24), "warning"),
        (ledger_checks.accounts([], 1_717_986_000), "ok"),
        (ledger_checks.accounts([Filling("acme", 0.8, 1)], 1), "warning"),
        (ledger_checks.accounts([Filling("acme", 0.9999, 2), Filling("bolt", 0.81, 2)], 1), "warning"),
        (ledger_checks.accounts([Filling("acme", 1.0, 1)], 1), "wrong"),
        (ledger_checks.accounts([], 1_717_987_000), "warning"),
        (ledger_checks.accounts([], 2**31 - 1), "wrong"),
        (ledger_checks.timers(BacklogFacts(0, None)), "ok"),
        (ledger_checks.timers(BacklogFacts(5, 599)), "ok"),
        (ledger_checks.timers(BacklogFacts(5, 600)), "warning"),
        (ledger_checks.dead_letters([]), "ok"),
        (ledger_checks.dead_letters([WaitingLetters("conflict", 1)]), "warning"),
        (ledger_checks.refund_requests(BacklogFacts(5, 10**7)), "ok"),
        (reading_checks.paused([]), "ok"),
        (reading_checks.paused([("email-bounced", "why")]), "wrong"),
        (reading_checks.gaps([Gap("t", 0, 1, 2, RECENT_SECONDS, is_made_anew=False)]), "ok"),
        (reading_checks.gaps([Gap("t", 0, 1, 2, RECENT_SECONDS - 1, is_made_anew=False)]), "warning"),
        (ledger_checks.openings([]), "ok"),
        (ledger_checks.openings([BeingOpened("acme", 599)]), "ok"),
        (ledger_checks.openings([BeingOpened("acme", 600), BeingOpened("new", 1)]), "warning"),
        (ledger_checks.operations([OpenOperation(1, "replay", "lee", 3_599)]), "ok"),
        (ledger_checks.operations([OpenOperation(1, "replay", "lee", 3_600)]), "warning"),
        (ledger_checks.operations([OpenOperation(1, "replay", "lee", RECENT_SECONDS)]), "ok"),
    ],
    ids=lambda value: f"{value.name}: {value.message}" if isinstance(value, Check) else value,
)
def test_thresholds(check: Check, state: str) -> None:
    assert check.state == state
    assert (check.what_to_do is None) == (state == "ok")


def test_of_many_things_some_are_named() -> None:
    letters = [WaitingLetters(f"reason-{n}", 9 - n) for n in range(8)]
    told = "waiting: 9 reason-0, 8 reason-1, 7 reason-2, 6 reason-3, 5 reason-4 and 3 more"
    assert ledger_checks.dead_letters(letters).message == told


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7_199, "120 min"), (7_200, "2 h"), (172_800, "2 days")],
)
def test_ages_are_told_shortly(seconds: float, told: str) -> None:
    assert ledger_checks.refund_requests(BacklogFacts(1, seconds)).message == f"1 wait, the oldest for {told}"


@pytest.mark.parametrize(
    ("ends", "state", "told"),
    [
        ([], "ok", "none, so the read API answers nobody"),
        ([None], "ok", "1 open the read API"),
        ([None, timedelta(days=15)], "ok", "2 open the read API"),
        ([None, timedelta(days=14)], "warning", "expired, or about to be within 14 days: token-1"),
        ([timedelta(days=-1), None], "warning", "expired, or about to be within 14 days: token-0"),
    ],
)
def test_tokens(ends: list[timedelta | None], state: str, told: str) -> None:
    held = [
        Token(
            name=f"token-{number}",
            sha256=sha256_of(str(number)),
            scopes=frozenset(Scope),
            expires_at=None if end is None else NOON + end,
        )
        for number, end in enumerate(ends)
    ]
    check = database_checks.tokens(held, NOON)
    assert (check.state, check.message) == (state, told)
