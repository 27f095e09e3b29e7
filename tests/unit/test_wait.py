from __future__ import annotations

import asyncio
from itertools import count

import pytest

from support.wait import eventually


async def test_the_first_truthy_answer_is_returned() -> None:
    numbers = count()

    assert await eventually(lambda: next(numbers)) == 1


async def test_an_exception_is_not_yet_an_answer() -> None:
    answers = iter([ValueError("not yet"), "there"])

    async def check() -> str:
        answer = next(answers)
        if isinstance(answer, ValueError):
            raise answer
        return str(answer)

    assert await eventually(check) == "there"


async def test_after_the_limit_it_says_what_was_waited_for_and_seen() -> None:
    with pytest.raises(AssertionError, match=r"not within 0 s: a cat; last: \[\]"):
        await eventually(list, within_seconds=0, what="a cat")


async def test_a_check_in_its_midst_at_the_limit_may_end() -> None:
    async def check() -> str:
        await asyncio.sleep(0.05)
        return "there"

    assert await eventually(check, within_seconds=0) == "there"


async def test_a_check_that_hangs_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("support.wait._GRACE_SECONDS", 0.01)
    with pytest.raises(AssertionError, match="TimeoutError"):
        await eventually(asyncio.Event().wait, within_seconds=0.01)
