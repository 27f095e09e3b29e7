"""What lets every run of the tests come to its end, and to the same one wherever it is started.

A test that hangs fails, and a worker that dies ends the run. Signals are heard, and of the starter's terminal nothing
is known. A plugin, so that a small suite in `tests/unit/test_run_ends.py` can have it, too.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest

from support.patience import patience

if TYPE_CHECKING:
    from collections.abc import Generator

# What may stay ignored: the first two Python ignores by itself, the third whoever wants a run to outlive its terminal.
_LEFT_ALONE = {signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP}
# By these a terminal, or a CI system, says how output is to look there.
_OF_A_TERMINAL = {
    *("COLORTERM", "CLICOLOR", "CLICOLOR_FORCE", "FORCE_COLOR", "NO_COLOR", "PY_COLORS", "GITHUB_ACTIONS"),
    *("COLUMNS", "LINES", "TERMINAL_WIDTH", "TTY_COMPATIBLE", "TTY_INTERACTIVE"),
}
_GRACE_SECONDS = 60

_STDERR = pytest.StashKey[int]()
_LIMIT = pytest.StashKey[float]()
_DEAD = pytest.StashKey[list[str]]()


def take_signals_back() -> None:
    """End the ignoring of signals that came with the start: by `nohup`, or of SIGINT in the background of a script.

    Processes that the tests start would ignore them, too, and the tests send them.
    """
    for number in signal.valid_signals() - _LEFT_ALONE:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def forget_the_terminal() -> None:
    """Let the commands that tests start find a usual terminal where they are given one."""
    for name in _OF_A_TERMINAL & os.environ.keys():
        del os.environ[name]
    os.environ["TERM"] = "xterm"


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    take_signals_back()
    # pytest does not capture it yet, and does so while a test runs.
    config.stash[_STDERR] = os.dup(sys.__stderr__.fileno() if sys.__stderr__ else 2)
    config.stash[_DEAD] = []


def pytest_unconfigure(config: pytest.Config) -> None:
    os.close(config.stash[_STDERR])


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart() -> None:
    # pytest itself has asked about its terminal by now, and xdist has not started the workers yet.
    forget_the_terminal()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give every test the limit that it has here."""
    usual = config.getoption("timeout") or config.getini("timeout") or 0
    for item in items:
        marked = item.get_closest_marker("timeout")
        limit = patience(float(marked.args[0] if marked else usual))
        item.stash[_LIMIT] = limit
        item.add_marker(pytest.mark.timeout(limit), append=False)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """End the process when a test does not end at its limit.

    pytest-timeout then raises an error in the test, by a signal. That may be caught, or go to another task.
    """
    _end_process_in_time(item)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """Begin the time anew: of a test that has failed pytest stops all clocks, lest they end a debugger."""
    _end_process_in_time(item)
    return (yield)


def _end_process_in_time(item: pytest.Item) -> None:
    limit = item.stash[_LIMIT]
    if limit and not item.config.getoption("usepdb"):
        after = limit + patience(_GRACE_SECONDS)
        faulthandler.dump_traceback_later(after, exit=True, file=item.config.stash[_STDERR])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Note that a worker is dead."""
    if error:
        node.config.stash[_DEAD].append(node.gateway.id)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run whose worker died between tests: xdist fails it for the test that a worker died in alone."""
    if session.config.stash[_DEAD] and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
