"""The process between whoever wants the servers and the servers: `python -m credit_local_stack.supervisor`.

It reads commands from its standard input, whose other end only its parent has. When that ends, because
the parent closed it or died, in whatever way, the supervisor ends the servers and removes a throwaway
data folder.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from credit_local_stack.errors import StackError
from credit_local_stack.kafka import Kafka
from credit_local_stack.plan import Plan, State, remove
from credit_local_stack.postgres import Postgres
from credit_local_stack.process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import NoReturn

_WATCH_SECONDS = 0.5
_READ_BYTES_MAX = 65_536


class ParentGone(Exception):  # noqa: N818 - nothing went wrong
    """Nobody is left who wants the servers."""


class Commands:
    """The lines that the parent writes, and the news that it is gone."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._parent = os.getppid()
        self._read = b""

    def next(self, check: Callable[[], None]) -> str:
        """Wait for a line and return it; `check` is called meanwhile, and may raise."""
        while b"\n" not in self._read:
            check()
            self.pause(_WATCH_SECONDS)
        line, _, self._read = self._read.partition(b"\n")
        return line.decode()

    def pause(self, seconds: float) -> None:
        """Wait a little, and raise as soon as the parent is gone."""
        if select.select([self._descriptor], [], [], seconds)[0]:
            read = os.read(self._descriptor, _READ_BYTES_MAX)
            if not read:
                raise ParentGone
            self._read += read
        # A child that the parent forked may hold the pipe open after it.
        if os.getppid() != self._parent:
            raise ParentGone


class Supervisor:
    """The servers of one plan."""

    def __init__(self, plan: Plan, commands: Commands) -> None:
        data = Path(plan.data)
        self._plan = plan
        self._commands = commands
        self._processes: dict[str, ServerProcess] = {}
        self._postgres: Postgres | None = None
        if plan.postgres_binaries is not None:
            self._postgres = Postgres(data, Path(plan.postgres_binaries))
            self._processes["postgres"] = ServerProcess(self._postgres, commands.pause)
        self._kafka = Kafka(
            data,
            plan.java,
            plan.class_path,
            plan.kafka_heap_mib,
            plan.advertised_kafka_port,
            plan.kafka_security,
            plan.kafka_settings,
            plan.kafka_rebalance_delay_ms,
        )
        self._processes["kafka"] = ServerProcess(self._kafka, commands.pause)

    def start(self) -> None:
        """Start both servers and wait until they answer."""
        for process in self._processes.values():
            process.server.choose_ports()
            process.server.prepare()
            process.launch()
        for process in self._processes.values():
            process.wait_until_it_answers(may_move=True)

    def obey(self, command: str) -> None:
        """Do one of: `start NAME`, `stop NAME`, `kill NAME`, `move kafka` while it does not run, `state`."""
        verb, _, name = command.partition(" ")
        if verb == "state":
            return
        process = self._processes[name]
        if verb == "start" and process.pid is None:
            process.launch()
            process.wait_until_it_answers(may_move=False)
        elif verb == "move" and process.pid is None:
            self._kafka.move()
        elif verb == "stop":
            process.end(process.server.orderly_end)
        elif verb == "kill":
            process.end(signal.SIGKILL)

    def check(self) -> None:
        """Raise if a server has ended that nobody asked to."""
        for process in self._processes.values():
            process.check()

    def state(self) -> State:
        """Return where the servers are now."""
        return State(
            postgres_port=self._postgres.port if self._postgres else 0,
            postgres_pid=self._processes["postgres"].pid if self._postgres else None,
            kafka_port=self._kafka.port,
            kafka_pid=self._processes["kafka"].pid,
            kafka_certificates_port=self._kafka.certificates_port,
            kafka_internal_port=self._kafka.internal_port,
        )

    def end(self) -> None:
        """End both servers: quickly if their data goes with them, in good order if it stays."""
        hows = {
            name: process.server.quick_end if self._plan.throwaway else process.server.orderly_end
            for name, process in self._processes.items()
        }
        for name, process in self._processes.items():
            process.ask_to_end(hows[name])
        for name, process in self._processes.items():
            process.end(hows[name])
        if self._plan.throwaway:
            remove(Path(self._plan.data))


def _give_up(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise ParentGone


def _say(answer: dict[str, object]) -> None:
    print(json.dumps(answer), flush=True)  # noqa: T201 - the parent reads it


def main() -> None:
    """Serve one parent until it is gone."""
    signal.signal(signal.SIGTERM, _give_up)
    commands = Commands(sys.stdin.fileno())
    supervisor = Supervisor(Plan.from_json(commands.next(lambda: None)), commands)
    try:
        supervisor.start()
        while True:
            _say(asdict(supervisor.state()))
            supervisor.obey(commands.next(supervisor.check))
    except StackError as error:
        _say({"error": str(error)})
    except (ParentGone, BrokenPipeError):
        pass
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        supervisor.end()


if __name__ == "__main__":
    main()
