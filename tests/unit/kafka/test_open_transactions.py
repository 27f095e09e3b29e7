"""Transactions that stay open are reported, and hold back no other partition."""

from __future__ import annotations

import pytest
from aiokafka import TopicPartition

from credit_service.application.readiness import Status
from credit_service.kafka.consume import open_transactions as transactions_module
from credit_service.kafka.consume.open_transactions import BehindTransaction, Ends, OpenTransactions

A, B = (TopicPartition("email-bounced", number) for number in range(2))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1_000.0]
    monkeypatch.setattr("credit_service.kafka.consume.open_transactions.time.monotonic", lambda: now[0])
    return now


@pytest.fixture
def status() -> Status:
    return Status({})


@pytest.fixture
def transactions(status: Status) -> OpenTransactions:
    return OpenTransactions(status)


def test_one_that_stays_open_is_named_until_it_ends(
    transactions: OpenTransactions, status: Status, clock: list[float]
) -> None:
    transactions.look({A: Ends(3, 4), B: Ends(7, 7)})
    clock[0] += transactions_module.HANGING_SECONDS - 1
    transactions.look({A: Ends(3, 10)})
    assert (status.degraded, transactions.hanging(), transactions.behind(A)) == ({}, set(), None)
    assert transactions.not_waited_for() == set()
    clock[0] += 1
    transactions.look({A: Ends(3, 24), B: Ends(9, 9)})
    assert (transactions.hanging(), transactions.not_waited_for()) == ({A}, {A})
    assert transactions.behind(A) == BehindTransaction(21, transactions_module.HANGING_SECONDS)
    assert "email-bounced/0 from offset 3 on, 21 messages since " in status.degraded["pinned"]
    assert "email-bounced/1" not in status.degraded["pinned"]
    transactions.look({A: Ends(25, 25)})
    assert (status.degraded, transactions.hanging(), transactions.not_waited_for()) == ({}, set(), set())


def test_what_is_not_heard_of_stands_as_it_was(
    transactions: OpenTransactions, status: Status, clock: list[float]
) -> None:
    transactions.look({A: Ends(3, 4)})
    clock[0] += transactions_module.HANGING_SECONDS
    transactions.look({A: Ends(3, 4)})
    transactions.look({A: None})
    assert transactions.hanging() == {A}
    assert "pinned" in status.degraded
    transactions.forget(A)
    assert (status.degraded, transactions.hanging()) == ({}, set())


def test_short_ones_without_a_moment_between_them_are_no_fault_and_are_not_waited_for(
    transactions: OpenTransactions, status: Status, clock: list[float]
) -> None:
    for offset in range(20):
        transactions.look({A: Ends(offset, offset + 2)})
        clock[0] += 1
    assert (status.degraded, transactions.hanging()) == ({}, set())
    assert transactions.not_waited_for() == {A}


def test_one_after_another_that_stayed_open_counts_anew(
    transactions: OpenTransactions, status: Status, clock: list[float]
) -> None:
    transactions.look({A: Ends(3, 4)})
    clock[0] += transactions_module.HANGING_SECONDS
    transactions.look({A: Ends(3, 8)})
    transactions.look({A: Ends(6, 8)})
    assert (status.degraded, transactions.hanging()) == ({}, set())
    clock[0] += transactions_module.HANGING_SECONDS
    transactions.look({A: Ends(6, 8)})
    assert "from offset 6 on, 2 messages" in status.degraded["pinned"]


def test_of_many_some_are_named(transactions: OpenTransactions, status: Status, clock: list[float]) -> None:
    ends = {TopicPartition("email-bounced", number): Ends(0, 1) for number in range(9)}
    transactions.look(ends)
    clock[0] += transactions_module.HANGING_SECONDS
    transactions.look(ends)
    assert status.degraded["pinned"].count("from offset") == 5
    assert status.degraded["pinned"].endswith(" and 4 more")
