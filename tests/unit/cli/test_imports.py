"""What a command imports before it has connected to a server: most of the time that a short command takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support.patience import patience

OF_THE_SERVICE = {
    "aiokafka",
    "faststream",
    "opentelemetry",
    "prometheus_client",
    "starlette",
    "structlog",
    "uvicorn",
}
OF_WORK = OF_THE_SERVICE | {"asyncio", "asyncpg", "credit_contracts", "credit_service.settings"}
MAIN = """
import sys
from credit_service.cli.main import main
code = main()
print(*sorted({} & sys.modules.keys()), file=sys.stderr)
sys.exit(code)
"""
SETTINGS = {
    "CREDITS_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
    "CREDITS_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
}


def run(command: str, watched: set[str], folder: Path) -> tuple[int, str, list[str]]:
    """The exit code, the watched modules that were imported, and the messages."""
    done = subprocess.run(
        [sys.executable, "-c", MAIN.format(watched), *command.split()],
        env=SETTINGS,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=patience(60),
        check=False,
    )
    *messages, imported = done.stderr.splitlines()
    return done.returncode, imported, messages


@pytest.mark.parametrize("command", ["--help", "dead-letters retry --help"])
def test_the_help_imports_nothing_that_works(command: str, tmp_path: Path) -> None:
    assert run(command, OF_WORK, tmp_path) == (0, "", [])


@pytest.mark.parametrize(
    ("command", "exit_code"),
    [
        ("asyncapi --default", 0),
        ("tokens list", 0),
        ("tokens new --name me --scope accounts:read", 0),
        ("account list", 1),
        ("account show acme", 1),
        ("account entries acme", 1),
        ("explain acme", 1),
        ("refunds list", 1),
        ("refunds show acme 7", 1),
        ("dead-letters list", 1),
        ("dead-letters show 12", 1),
        ("outbox list", 1),
        ("adjust acme +5 --reason r --operator o", 1),
    ],
)
def test_a_command_without_kafka_imports_nothing_of_the_service(command: str, exit_code: int, tmp_path: Path) -> None:
    code, imported, messages = run(command, OF_THE_SERVICE, tmp_path)
    assert (code, imported) == (exit_code, ""), messages
