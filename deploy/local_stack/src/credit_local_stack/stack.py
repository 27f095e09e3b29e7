"""A Postgres and a Kafka of one's own, for as long as this process lives."""

from __future__ import annotations

import json
import select
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from credit_local_stack.addresses import Addresses
from credit_local_stack.errors import StackError, UsageError
from credit_local_stack.jars import kafka_jars
from credit_local_stack.java import find_java
from credit_local_stack.plan import Plan, State, remove
from credit_local_stack.ports import HOST
from credit_local_stack.postgres import database_url, postgres_binaries, postgres_folder
from credit_local_stack.process import tail

if TYPE_CHECKING:
    from collections.abc import Callable

    from credit_local_stack.plan import KafkaSecurity

# Longer than the supervisor's own bounds for starting and ending, which come first and say more.
_ANSWER_SECONDS_MAX = 500
_END_SECONDS_MAX = 200


def _say_nothing(_line: str) -> None:
    pass


class Stack:
    """Both servers, started by the constructor and ended by `close`, by leaving the `with`, or by our death.

    Without `data` they keep it in a temporary folder that goes with them, in `scratch` or where temporary folders are.
    `advertised_kafka_port` is the port that Kafka sends its clients to, for tests with a proxy in front of
    `kafka_port`. With `kafka_security` the broker wants TLS and a login. `kafka_settings` are settings of the broker's
    that go before those it has here. `kafka_rebalance_delay_ms` is for how long a group that was empty waits for more
    members; a broker that is not told waits for 3,000. Without Postgres, Kafka is all there is.
    """

    def __init__(
        self,
        data: Path | None = None,
        *,
        scratch: Path | None = None,
        kafka_heap_mib: int = 512,
        advertised_kafka_port: int | None = None,
        kafka_security: KafkaSecurity | None = None,
        kafka_rebalance_delay_ms: int = 0,
        kafka_settings: dict[str, str] | None = None,
        with_postgres: bool = True,
        say: Callable[[str], None] = _say_nothing,
    ) -> None:
        binaries = postgres_binaries() if with_postgres else None
        java, jars = find_java(), kafka_jars(say)
        self._throwaway = data is None
        if data is None:
            data = Path(tempfile.mkdtemp(prefix="credit-local-stack-", dir=scratch))
        else:
            data.mkdir(parents=True, exist_ok=True)
        self.data = data.resolve()
        self._postgres_bin = binaries
        plan = Plan(
            data=str(self.data),
            throwaway=self._throwaway,
            postgres_binaries=str(binaries) if binaries else None,
            java=java,
            class_path=[str(jar) for jar in jars],
            kafka_heap_mib=kafka_heap_mib,
            advertised_kafka_port=advertised_kafka_port,
            kafka_security=kafka_security,
            kafka_rebalance_delay_ms=kafka_rebalance_delay_ms,
            kafka_settings=kafka_settings or {},
        )
        self._one_at_a_time = threading.Lock()
        try:
            # A session of its own: Ctrl-C in the terminal is for us, and we end the servers in good order.
            with (self.data / "supervisor.log").open("ab") as log:
                self._supervisor = subprocess.Popen(
                    [sys.executable, "-P", "-m", "credit_local_stack.supervisor"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    start_new_session=True,
                )
        except BaseException:
            self._remove_throwaway()
            raise
        try:
            say(f"Starting {'Postgres and Kafka' if with_postgres else 'Kafka'} in {self.data}")
            self._state = self._ask(plan.to_json())
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def postgres_bin(self) -> Path:
        """The folder of Postgres' own tools."""
        if self._postgres_bin is None:
            raise UsageError("this stack has no Postgres")
        return self._postgres_bin

    @property
    def database_url(self) -> str:
        """The address, with a superuser's password, of the database `credits`; it is empty at first."""
        return database_url(self.data, self._state.postgres_port)

    @property
    def bootstrap_servers(self) -> str:
        """The address of the broker itself, whatever it advertises."""
        return f"{HOST}:{self._state.kafka_port}"

    @property
    def addresses(self) -> Addresses:
        """Both addresses."""
        return Addresses(self.database_url, self.bootstrap_servers)

    @property
    def postgres_port(self) -> int:
        """The port of Postgres; it stays the same over restarts."""
        return self._state.postgres_port

    @property
    def kafka_port(self) -> int:
        """The port of the broker; it stays the same over restarts, unless it moves."""
        return self._state.kafka_port

    @property
    def kafka_certificates_port(self) -> int:
        """The port of a secured broker that takes certificates in place of a login."""
        return self._state.kafka_certificates_port

    @property
    def kafka_internal_port(self) -> int:
        """The port on which the broker talks to itself; of a secured one, whoever comes there may do anything."""
        return self._state.kafka_internal_port

    @property
    def postgres_data(self) -> Path:
        """The folder of the Postgres cluster, for a test that puts a backup in its place."""
        return postgres_folder(self.data)

    @property
    def supervisor_pid(self) -> int:
        """The id of the process that holds both servers."""
        return self._supervisor.pid

    @property
    def postgres_pid(self) -> int | None:
        """The id of Postgres' first process, None while it does not run."""
        return self._ask("state").postgres_pid

    @property
    def kafka_pid(self) -> int | None:
        """The id of the broker's process, None while it does not run."""
        return self._ask("state").kafka_pid

    def kill_postgres(self) -> None:
        """End Postgres as a power cut does."""
        self._ask("kill postgres")

    def stop_postgres(self) -> None:
        """End Postgres in good order; its clients are cut off."""
        self._ask("stop postgres")

    def start_postgres(self) -> None:
        """Start Postgres again, same port, same data, and wait until it answers; nothing if it runs."""
        self._ask("start postgres")

    def restart_postgres(self) -> None:
        """Stop and start Postgres."""
        self.stop_postgres()
        self.start_postgres()

    def kill_kafka(self) -> None:
        """End the broker as a power cut does."""
        self._ask("kill kafka")

    def stop_kafka(self) -> None:
        """End the broker in good order."""
        self._ask("stop kafka")

    def start_kafka(self) -> None:
        """Start the broker again, same port, same data, and wait until it answers; nothing if it runs."""
        self._ask("start kafka")

    def restart_kafka(self) -> None:
        """Stop and start the broker."""
        self.stop_kafka()
        self.start_kafka()

    def move_kafka(self) -> None:
        """Stop the broker and start it at other ports, with the same data: for its clients, at another address."""
        self.stop_kafka()
        self._state = self._ask("move kafka")
        self.start_kafka()

    def wait(self) -> None:
        """Wait until a server ends by itself, which ends the stack, and raise what is known about it."""
        if self._supervisor.stdout:
            select.select([self._supervisor.stdout], [], [])
        self._ask("state")

    def close(self) -> None:
        """End both servers and remove throwaway data; may be called again."""
        supervisor = self._supervisor
        if supervisor.stdin and supervisor.stdout:
            with suppress(BrokenPipeError):
                supervisor.stdin.close()
            try:
                supervisor.wait(_END_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                supervisor.kill()
                supervisor.wait()
            supervisor.stdout.close()
        self._remove_throwaway()

    def _remove_throwaway(self) -> None:
        """Remove what the supervisor removes by itself, unless it was killed."""
        if self._throwaway:
            remove(self.data)

    def _ask(self, command: str) -> State:
        """Send the supervisor one line and return what it answers."""
        stdin, stdout = self._supervisor.stdin, self._supervisor.stdout
        if stdin is None or stdout is None or stdin.closed:
            raise StackError("the local stack is closed")
        with self._one_at_a_time:
            # One that ended by itself has left the reason to be read.
            with suppress(BrokenPipeError):
                stdin.write(command.encode() + b"\n")
                stdin.flush()
            if not select.select([stdout], [], [], _ANSWER_SECONDS_MAX)[0]:
                raise StackError(f"the local stack's supervisor did not answer within {_ANSWER_SECONDS_MAX} s")
            line = stdout.readline()
        if not line:
            raise StackError(f"the local stack's supervisor is gone\n{tail(self.data / 'supervisor.log')}")
        answer = json.loads(line)
        if "error" in answer:
            raise StackError(answer["error"])
        return State(**answer)
