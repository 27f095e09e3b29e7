"""The steps of the start, and its end before they are done."""

from __future__ import annotations

import asyncio

import pytest

from credit_service.application.readiness import Status
from credit_service.bootstrap.startup import until_well


async def test_a_step_is_taken_again_until_it_has_no_complaint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("credit_service.bootstrap.startup.RETRY_SECONDS", 0.01)
    status, complaints = Status({}), iter(["no broker", "no topics", None])
    seen: list[object] = []

    async def step() -> str | None:
        seen.append(dict(status.problems))
        return next(complaints)

    assert await until_well("kafka", step, status, asyncio.Event())
    assert seen == [{}, {"kafka": "no broker"}, {"kafka": "no topics"}]
    assert status.problems == {}


async def test_who_is_to_end_does_not_wait_for_a_step_that_takes_long() -> None:
    ending, cleaned_up = asyncio.Event(), []

    async def joins() -> str | None:
        ending.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned_up.append(True)
        return None

    assert not await until_well("kafka", joins, Status({}), ending)
    assert cleaned_up


async def test_a_step_that_fails_is_a_defect_that_is_heard() -> None:
    async def step() -> str | None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await until_well("kafka", step, Status({}), asyncio.Event())
