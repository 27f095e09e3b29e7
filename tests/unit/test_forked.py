"""A forked command does as the installed one."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from support.credits import CREDITS, environment, run_credits
from support.forked import Forked, piped, piped_bytes
from support.wait import eventually


@pytest.mark.parametrize(
    "arguments", [("--help",), ("account", "show", "--help"), ("frobnicate",), ("explain", "acme")]
)
def test_it_says_and_returns_what_the_installed_one_does(arguments: tuple[str, ...], tmp_path: Path) -> None:
    settings = {"database_url": "postgresql://u@127.0.0.1:1/credits"}
    installed = subprocess.run(
        [CREDITS, *arguments], env=environment(**settings), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    forked = run_credits(*arguments, folder=tmp_path, **settings)
    assert (forked.returncode, forked.stdout, forked.stderr) == (
        installed.returncode,
        installed.stdout,
        installed.stderr,
    )


def start(folder: Path, first: str) -> Forked:
    out = folder / "out"
    return Forked("--help", environment={"GIVEN": "yes"}, folder=folder, stdout=out, stderr=out, first=first)


def test_it_has_the_environment_that_it_is_given_and_no_other(tmp_path: Path) -> None:
    assert start(tmp_path, "import os; raise SystemExit(str(dict(os.environ)))").wait_blocking(60) == 1
    assert (tmp_path / "out").read_text() == "{'GIVEN': 'yes'}\n"


async def test_a_signal_that_ended_it_is_told(tmp_path: Path) -> None:
    forked = start(tmp_path, "import signal; signal.pause()")
    assert forked.returncode is None
    assert forked.wait_blocking(0) is None
    forked.send_signal(signal.SIGTERM)
    assert await forked.wait() == -signal.SIGTERM
    forked.send_signal(signal.SIGTERM)  # has ended, and its number may be another's


async def test_a_signal_to_one_that_has_just_ended_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forked = start(tmp_path, "")
    await forked.wait()
    monkeypatch.setattr(Forked, "returncode", None)  # as before its end is told
    forked.send_signal(signal.SIGTERM)


def test_many_at_once_from_many_threads_each_have_their_own_end(tmp_path: Path) -> None:
    def ended(code: int) -> int | None:
        return start(tmp_path, f"raise SystemExit({code})").wait_blocking(60)

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ended, range(40))) == list(range(40))


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = {path!r}
if __name__ == "__main__":
    from support.forked import Forked, piped, piped_bytes
    waits, out = "import signal; signal.pause()", Path("out")
    forked = Forked("--help", environment={{}}, folder=Path.cwd(), stdout=out, stderr=out, first=waits)
    Path("pid").write_text(str(forked.pid))
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
async def test_it_ends_with_whoever_started_it(tmp_path: Path) -> None:
    (tmp_path / "killed.py").write_text(KILLED.format(path=sys.path))
    # No pipe: what holds it open is what is looked for here.
    process = await asyncio.create_subprocess_exec(sys.executable, "killed.py", cwd=tmp_path, stdout=DEVNULL)
    assert await process.wait() == -signal.SIGKILL
    pid = int((tmp_path / "pid").read_text())
    try:
        await eventually(lambda: not Path(f"/proc/{pid}").exists(), what="its end")
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_one_that_is_spoken_with_does_as_the_installed_one(tmp_path: Path) -> None:
    settings = environment(database_url="postgresql://u@127.0.0.1:1/credits", kafka_bootstrap_servers="127.0.0.1:1")
    rows, command = '{"record": "account"\n', ["open", "-", "--format", "jsonl", "--output", "json"]
    with subprocess.Popen(
        [CREDITS, *command], env=settings, cwd=tmp_path, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True
    ) as installed:
        said = installed.communicate(rows)
    with piped(*command, environment=settings, folder=tmp_path) as forked:
        assert forked.communicate(rows) == said
    assert forked.returncode == installed.returncode


def test_nothing_of_what_it_says_unbuffered_waits(tmp_path: Path) -> None:
    settings = environment(database_url="postgresql://u@127.0.0.1:1/credits", kafka_bootstrap_servers="127.0.0.1:1")
    ended = "import sys, os; sys.stdout.write('x'); os._exit(7)"
    with piped_bytes(
        "--help", environment=settings | {"PYTHONUNBUFFERED": "1"}, folder=tmp_path, first=ended
    ) as forked:
        assert forked.communicate() == (b"x", b"")
    assert forked.returncode == 7
