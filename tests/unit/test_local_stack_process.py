from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from credit_local_stack import StackError
from credit_local_stack.process import ServerProcess

if TYPE_CHECKING:
    from pathlib import Path


class PortTakenAtFirst:
    """A server whose first port somebody else takes between the choice and the start."""

    name = "Server"
    orderly_end = signal.SIGTERM
    quick_end = signal.SIGKILL

    def __init__(self, log: Path) -> None:
        self.log = log
        self.port = 0

    def choose_ports(self) -> None:
        self.port += 1

    def prepare(self) -> None:
        pass

    def command(self) -> list[str]:
        return ["sleep", "60"] if self.port > 1 else ["sh", "-c", "echo port is taken; exit 1"]

    def answers(self, pid: int) -> bool:
        return self.port > 1 and pid > 0


def test_a_server_whose_port_was_taken_gets_another(tmp_path: Path) -> None:
    server = PortTakenAtFirst(tmp_path / "log")
    process = ServerProcess(server, time.sleep)
    server.choose_ports()
    process.launch()

    process.wait_until_it_answers(may_move=True)

    assert server.port == 2
    process.end(signal.SIGKILL)
    assert process.pid is None


def test_a_server_that_may_not_move_is_given_up_with_its_last_words(tmp_path: Path) -> None:
    process = ServerProcess(PortTakenAtFirst(tmp_path / "log"), lambda _: None)
    process.launch()

    with pytest.raises(StackError, match="port is taken"):
        process.wait_until_it_answers(may_move=False)


def test_a_server_that_ends_unasked_is_noticed(tmp_path: Path) -> None:
    server = PortTakenAtFirst(tmp_path / "log")
    server.port = 2
    process = ServerProcess(server, time.sleep)
    process.launch()
    process.check()
    process.end(signal.SIGTERM)
    process.check()

    server.port = 1
    process.launch()
    while process.pid is not None:
        pass
    with pytest.raises(StackError, match="Server has ended by itself"):
        process.check()


def test_a_server_can_be_asked_to_end_where_we_were_started_to_ignore_that(tmp_path: Path) -> None:
    server = PortTakenAtFirst(tmp_path / "log")
    server.port = 2
    process = ServerProcess(server, time.sleep)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        process.launch()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

    process.end(signal.SIGINT)

    assert process._process is not None
    assert process._process.returncode == -signal.SIGINT
