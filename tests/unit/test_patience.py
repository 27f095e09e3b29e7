"""Every limit of a wait in the tests follows the one number."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.forked import Forked
from support.patience import VARIABLE, patience
from support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = Path(__file__).parents[1]
WAITS = {"timeout", "wait_for", "result", "wait", "join", "settimeout"}
# What such a name says is not how long a test waits, but how long the service may take.
PROMISE = "PROMISED_"


def test_the_number_is_read_from_the_environment() -> None:
    program = "from support.patience import patience; print(patience(60))"
    told = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {VARIABLE: "2.5", "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        check=True,
        timeout=patience(60),
    ).stdout
    assert told == "150.0\n"


async def test_what_waits_for_a_condition_or_an_end_follows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    marked = request.node.get_closest_marker("timeout")
    assert marked.args == (patience(float(request.config.getini("timeout"))),)

    monkeypatch.setattr("support.patience._FACTOR", 0.001)
    with pytest.raises(AssertionError, match=r"not within 0.1 s: a cat"):
        await eventually(list, within_seconds=100, what="a cat")
    out = tmp_path / "out"
    forked = Forked(environment={}, folder=tmp_path, stdout=out, stderr=out, first="import signal; signal.pause()")
    assert forked.wait_blocking(100) is None
    forked.send_signal(signal.SIGKILL)
    await forked.wait()


def test_no_test_waits_with_a_limit_of_its_own() -> None:
    files = [file for file in TESTS.rglob("*.py") if "benchmarks" not in file.parts]
    found = [f"{file.relative_to(TESTS)}:{line}" for file in files for line in own_limits(file)]
    assert found == [], "patience(…) around each, or a name that begins with PROMISED_"


def own_limits(file: Path) -> Iterator[int]:
    """Lines where a call that waits is given a number, or a constant's name, as it is."""
    for call in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(call, ast.Call):
            given = [keyword.value for keyword in call.keywords if keyword.arg == "timeout"]
            if isinstance(call.func, ast.Attribute) and call.func.attr in WAITS and not is_mark(call.func):
                given += call.args
            yield from (limit.lineno for limit in given if is_own(limit))


def is_own(limit: ast.expr) -> bool:
    if isinstance(limit, ast.Name):
        return limit.id.isupper() and "SECONDS" in limit.id and not limit.id.startswith(PROMISE)
    return isinstance(limit, ast.Constant) and isinstance(limit.value, int | float) and bool(limit.value)


def is_mark(function: ast.Attribute) -> bool:
    return isinstance(function.value, ast.Attribute) and function.value.attr == "mark"


@pytest.mark.parametrize(
    ("call", "lines"),
    [
        ("asyncio.timeout(60)", [1]),
        ("subprocess.run(command, timeout=LOOK_SECONDS_MAX)", [1]),
        ("process.wait(SECONDS_MAX)", [1]),
        ("asyncio.timeout(patience(60))", []),
        ("asyncio.timeout(PROMISED_SECONDS_MAX)", []),
        ("pytest.mark.timeout(600)", []),
        ("story.wait('2026-02-01')", []),
    ],
)
def test_a_limit_of_its_own_is_found(call: str, lines: list[int], tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(call)
    assert list(own_limits(tmp_path / "test_it.py")) == lines
