"""A ledger that is away is tried again a few times, or for some time, with growing pauses."""

from __future__ import annotations

import asyncio
from itertools import islice

import pytest

from credit_service.application.errors import LedgerUnavailable, OutOfTime, RefusedByLedger
from credit_service.application.retry import ATTEMPTS_MAX, backoff_seconds, is_set_within, retry, retry_within


class Fails:
    """Raises the error `times` over, and returns the number of calls then."""

    def __init__(self, error: Exception, times: int) -> None:
        self.calls = 0
        self._error = error
        self._times = times

    async def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self._times:
            raise self._error
        return self.calls


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return slept


async def test_an_attempt_is_repeated_with_growing_pauses(pauses: list[float]) -> None:
    assert await retry(Fails(LedgerUnavailable("away"), ATTEMPTS_MAX - 1)) == ATTEMPTS_MAX
    assert pauses == [0.1, 0.2, 0.4, 0.8]


async def test_the_last_error_is_raised(pauses: list[float]) -> None:
    fails = Fails(LedgerUnavailable("away"), ATTEMPTS_MAX)
    with pytest.raises(LedgerUnavailable, match="away"):
        await retry(fails)
    assert (fails.calls, len(pauses)) == (ATTEMPTS_MAX, ATTEMPTS_MAX - 1)


@pytest.mark.parametrize(("can_be_less", "calls"), [(True, 1), (False, ATTEMPTS_MAX)])
async def test_work_that_can_be_less_is_not_repeated_once_out_of_time(
    can_be_less: bool, calls: int, pauses: list[float]
) -> None:
    fails = Fails(OutOfTime("slow"), ATTEMPTS_MAX)
    with pytest.raises(OutOfTime):
        await retry(fails, can_be_less=can_be_less)
    assert (fails.calls, len(pauses)) == (calls, calls - 1)


async def test_a_refusal_is_not_repeated() -> None:
    fails = Fails(RefusedByLedger("23505", None), 1)
    with pytest.raises(RefusedByLedger):
        await retry(fails)
    assert fails.calls == 1


async def test_within_some_time_it_is_repeated_until_the_next_pause_is_too_long(pauses: list[float]) -> None:
    assert await retry_within(60, Fails(LedgerUnavailable("away"), 3)) == 4
    assert [0.5 * full <= pause <= full for pause, full in zip(pauses, (0.1, 0.2, 0.4), strict=True)] == 3 * [True]

    fails = Fails(LedgerUnavailable("away"), 10)
    with pytest.raises(LedgerUnavailable):
        await retry_within(0.3, fails)
    assert fails.calls == 3, "the pause of 0.4 s is longer than the time that is left"


def test_pauses_double_up_to_a_maximum() -> None:
    assert list(islice(backoff_seconds(), 9)) == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]


async def test_an_event_is_waited_for_no_longer_than_its_time() -> None:
    event = asyncio.Event()
    assert not await is_set_within(event, 0)
    assert not await is_set_within(event, 0.001)
    event.set()
    assert await is_set_within(event, 0)
    assert await is_set_within(event, 60)
