"""The command line: `credits-stack up` and `credits-stack run`."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from credit_local_stack.addresses import BOOTSTRAP_SERVERS, DATABASE_URL
from credit_local_stack.errors import StackError, UsageError
from credit_local_stack.process import die_with_parent
from credit_local_stack.servers import servers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType
    from typing import NoReturn

    from credit_local_stack.addresses import Addresses

TOKENS = "CREDITS_HTTP_TOKENS"
_COMMAND_NOT_FOUND = 127
_DELAY_MS_MAX = 60_000


class _Ended(Exception):  # noqa: N818 - nothing went wrong
    """Somebody pressed Ctrl-C, or sent SIGTERM."""

    def __init__(self, signal_number: int) -> None:
        super().__init__()
        self.signal = signal_number


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def main() -> int:
    """Run the command line and return its exit code."""
    arguments = _parser().parse_args()
    # A script starts what it leaves in the background so: Ctrl-C is for others then.
    if not _ignores_ctrl_c():
        signal.signal(signal.SIGINT, _end)
    signal.signal(signal.SIGTERM, _end)
    try:
        if arguments.command == "up":
            return _up(arguments.env_file, arguments.data, arguments.rebalance_delay_ms)
        return _run(arguments.argv, arguments.rebalance_delay_ms)
    except _Ended as ended:
        return 0 if arguments.command == "up" else 128 + ended.signal
    except UsageError as error:
        _say(str(error))
        return 2
    except (StackError, OSError) as error:
        _say(str(error))
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="credits-stack", description="A real Postgres and a real Kafka on this machine.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="up|run")
    up = commands.add_parser("up", help="run both in the foreground until Ctrl-C")
    up.add_argument(
        "--env-file",
        type=Path,
        required=True,
        metavar="F",
        help="file for both addresses, while they run",
    )
    up.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="folder to keep the data in; without it, it goes",
    )
    run = commands.add_parser("run", help="run a command with both addresses in its environment")
    for command in (up, run):
        command.add_argument(
            "--rebalance-delay-ms",
            type=_milliseconds,
            default=0,
            metavar="N",
            help="how long an empty consumer group waits for more members; Kafka's own default is 3000, ours 0",
        )
    run.add_argument("argv", nargs="+", metavar="COMMAND", help="the command, after --")
    return parser


def _milliseconds(text: str) -> int:
    if not text.isdecimal() or int(text) > _DELAY_MS_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to {_DELAY_MS_MAX}")
    return int(text)


def _up(env_file: Path, data: Path | None, rebalance_delay_ms: int) -> int:
    _check_replaceable(env_file)
    with (
        servers(_say, data=data, rebalance_delay_ms=rebalance_delay_ms) as running,
        _written(running.addresses, env_file),
    ):
        _say(f"Both answer; {env_file} has their addresses. {'SIGTERM' if _ignores_ctrl_c() else 'Ctrl-C'} ends them.")
        running.wait()
    return 0


def _run(argv: list[str], rebalance_delay_ms: int) -> int:
    with servers(_say, rebalance_delay_ms=rebalance_delay_ms) as running:
        try:
            command = subprocess.Popen(  # noqa: S603 - running it is what we are asked for
                argv,
                env={**os.environ, **running.addresses.environment()},
                preexec_fn=die_with_parent(signal.SIGTERM),
            )
        except OSError as error:
            _say(f"cannot run {argv[0]}: {error.strerror}")
            return _COMMAND_NOT_FOUND
        # The terminal sends Ctrl-C to the command as well; the servers stay until it has ended.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: command.terminate())
        code = command.wait()
    return code if code >= 0 else 128 - code


def _check_replaceable(env_file: Path) -> None:
    """Refuse to overwrite, and in the end to remove, a file that somebody else wrote."""
    if not env_file.absolute().parent.is_dir():
        raise UsageError(f"--env-file: there is no folder {env_file.absolute().parent}")
    if env_file.is_dir():
        raise UsageError(f"--env-file: {env_file} is a folder")
    if env_file.exists():
        names = {line.partition("=")[0] for line in env_file.read_text(errors="replace").splitlines()}
        if names - {TOKENS} not in ({DATABASE_URL, BOOTSTRAP_SERVERS}, set()):
            raise UsageError(f"--env-file: {env_file} holds more than the two addresses and is left as it is")


@contextmanager
def _written(addresses: Addresses, env_file: Path) -> Iterator[None]:
    ours = [f"{name}={value}\n" for name, value in addresses.environment().items()]
    _replace(env_file, [*ours, *_tokens_in(env_file)])
    try:
        yield
    finally:
        tokens = _tokens_in(env_file)
        # Unless a later `up` has put its own addresses there.
        if env_file.exists() and set(env_file.read_text().splitlines(keepends=True)) == {*ours, *tokens}:
            if tokens:
                _replace(env_file, tokens)
            else:
                env_file.unlink()


def _tokens_in(env_file: Path) -> list[str]:
    """The line that `credits tokens new --env-file` has put there; it stays."""
    lines = env_file.read_text().splitlines(keepends=True) if env_file.exists() else []
    return [line for line in lines if line.startswith(f"{TOKENS}=")]


def _replace(env_file: Path, lines: list[str]) -> None:
    with tempfile.NamedTemporaryFile("w", dir=env_file.absolute().parent, prefix=".env-", delete=False) as new:
        new.writelines(lines)
    Path(new.name).replace(env_file)


def _end(signal_number: int, _frame: FrameType | None) -> NoReturn:
    # Once only: what follows is bounded, and a second Ctrl-C would leave it half done.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _Ended(signal_number)


def _ignores_ctrl_c() -> bool:
    return signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - talk goes to stderr


if __name__ == "__main__":
    sys.exit(main())
