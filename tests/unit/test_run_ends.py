"""A run of the tests ends, and says in which test it went wrong: tried on small suites with the options of this one."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.patience import VARIABLE, patience

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
RUN_SECONDS_MAX = 120
ELSEWHERE = {"COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1", "GITHUB_ACTIONS": "true"}

PLUGIN = """
import os
pytest_plugins = ["support.run_ends"]
def pytest_configure(config):
    import support.run_ends
    support.run_ends._GRACE_SECONDS = float(os.environ["GRACE_SECONDS"])
    for mark in ("backlog", "chaos", "footprint", "image", "slow", "stack"):
        config.addinivalue_line("markers", f"{mark}: none here")
"""

# xdist gives the first three to one worker each, and the last to the workers that go on.
OF_THE_DEAD = """
import os, time
import pytest
def test_exits(): os._exit(1)
@pytest.mark.timeout(1)
def test_hears_nothing():
    while True:
        try:
            time.sleep(600)
        except BaseException:
            pass
@pytest.fixture
def stuck():
    yield
    time.sleep(600)
@pytest.mark.timeout(1)
def test_hangs_at_its_end(stuck): assert False
@pytest.mark.xdist_group("grouped")
@pytest.mark.parametrize("number", range(6))
def test_grouped(number): pass
@pytest.mark.parametrize("number", range(6))
def test_later(number): pass
"""

OF_THE_LATE = """
import asyncio, os, signal, subprocess, sys
import pytest
@pytest.mark.timeout(200)
async def test_waits_for_ever(): await asyncio.Event().wait()
@pytest.mark.parametrize("number", range(6))
def test_fine(number): pass
def test_hears_ctrl_c():
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    program = "import os, signal, sys; os.kill(os.getpid(), signal.SIGINT)"
    assert subprocess.run([sys.executable, "-c", program], stderr=subprocess.DEVNULL).returncode == -signal.SIGINT
def test_can_be_ended():
    assert subprocess.run(["sh", "-c", "kill -TERM $$"]).returncode == -signal.SIGTERM
def test_knows_no_terminal():
    assert os.environ["TERM"] == "xterm"
    assert "GITHUB_ACTIONS" not in os.environ
    assert "NO_COLOR" not in os.environ
"""

OF_THE_DEAD_AT_THE_END = """
def test_fine(): pass
def test_fine_as_well(): pass
"""
DIES_AT_THE_END = """
def pytest_sessionfinish():
    if os.environ.get("PYTEST_XDIST_WORKER") == "gw0":
        os._exit(1)
"""


def run(
    folder: Path,
    suite: str,
    *options: str,
    conftest: str = "",
    factor: float = 1,
    grace_seconds: float = 1,
    preexec_fn: Callable[[], None] | None = None,
) -> tuple[int, str]:
    """The exit code and what was said, of a suite run as this one is."""
    (folder / "conftest.py").write_text(PLUGIN + conftest)
    (folder / "test_small.py").write_text(suite)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    without = ("cacheprovider", "schemathesis", "hypothesispytest", "anyio")
    ours: list[str | Path] = [
        "-c",
        ROOT / "pyproject.toml",
        "--rootdir",
        folder,
        *(f"-pno:{plugin}" for plugin in without),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *ours, "--dist", "loadgroup", *options, "test_small.py"],
        cwd=folder,
        env=kept
        | {
            "COLUMNS": "200",
            "TERM": "dumb",
            "NO_COLOR": "1",
            "GITHUB_ACTIONS": "true",
            VARIABLE: str(factor),
            "GRACE_SECONDS": str(grace_seconds),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=patience(RUN_SECONDS_MAX),
        preexec_fn=preexec_fn,
    )
    return done.returncode, done.stdout


def failed(said: str) -> set[str]:
    return set(re.findall(r"^FAILED test_small.py::(\w+)", said, re.MULTILINE))


def test_the_plugin_is_of_this_run(pytestconfig: pytest.Config) -> None:
    assert pytestconfig.pluginmanager.has_plugin("support.run_ends")


@pytest.mark.slow
def test_a_worker_that_dies_ends_the_run_which_names_its_test(tmp_path: Path) -> None:
    code, said = run(tmp_path, OF_THE_DEAD, "-n3")

    assert code == 1, said
    assert failed(said) == {"test_exits", "test_hears_nothing", "test_hangs_at_its_end"}
    assert "crashed while running 'test_small.py::test_exits'" in said
    assert re.search(r"Timeout .*in test_hears_nothing", said, re.DOTALL), "where it hung is told"


def ignore_what_ends() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


@pytest.mark.slow
def test_a_test_that_hangs_fails_alone_and_the_others_find_what_they_do_wherever_it_is_started(tmp_path: Path) -> None:
    code, said = run(
        tmp_path, OF_THE_LATE, "-n2", "--timeout=6000", factor=0.01, grace_seconds=6000, preexec_fn=ignore_what_ends
    )

    assert code == 1, said
    assert failed(said) == {"test_waits_for_ever"}
    assert "1 failed, 9 passed" in said
    assert re.search(r"FAILED .*Timeout .>2.0s", said), "a mark's limit, too, is as patient as the run"


@pytest.mark.slow
def test_a_worker_that_dies_between_tests_fails_the_run(tmp_path: Path) -> None:
    code, said = run(tmp_path, OF_THE_DEAD_AT_THE_END, "-n2", conftest=DIES_AT_THE_END)

    assert code == 1, said
    assert "2 passed" in said
    assert "worker gw0 crashed" in said
