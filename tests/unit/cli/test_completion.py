"""Shell completion: it needs no settings, and reads nothing of what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from credit_service.cli.main import COMMANDS
from support.patience import patience

NAMES = [name for panel in COMMANDS.values() for name in panel]
WRONG = "hunter2"
# bash and zsh each ask in their own way; fish asks once for each word.
ASKS = {
    "bash": {"_CREDITS_COMPLETE": "complete_bash", "COMP_WORDS": "credits {}", "COMP_CWORD": "{n}"},
    "zsh": {"_CREDITS_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": "credits {}"},
    "fish": {
        "_CREDITS_COMPLETE": "complete_fish",
        "_TYPER_COMPLETE_ARGS": "credits {}",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    },
}
HEAVY = ("aiokafka", "asyncpg", "dotenv", "faststream", "pydantic_settings", "credit_service.settings")
MAIN = f"""
import sys
from credit_service.cli.main import main
try:
    code = main()
except SystemExit as end:
    code = end.code
print(*sorted(set({HEAVY!r}) & sys.modules.keys()), file=sys.stderr)
sys.exit(code)
"""


def run_main(folder: Path, **environment: str) -> str:
    """The output of the command; it has to succeed, say nothing on stderr, and import nothing heavy."""
    done = subprocess.run(
        [sys.executable, "-c", MAIN],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=patience(60),
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "\n")
    return done.stdout


def complete(shell: str, words: str, folder: Path, **environment: str) -> list[str]:
    """The words that the shell is offered after `credits` and these words."""
    request = {name: text.format(words, n=len(words.split(" "))) for name, text in ASKS[shell].items()}
    offered = run_main(folder, **request, **environment)
    return re.findall(r'"([\w-]+)":' if shell == "zsh" else r"(?m)^[\w-]+", offered)


@pytest.mark.parametrize("shell", ASKS)
def test_a_shell_without_any_settings_is_offered_the_commands(shell: str, tmp_path: Path) -> None:
    assert complete(shell, "", tmp_path) == NAMES


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("re", ["refunds", "resume", "replay", "reconcile"]),
        ("dead-letters ", ["list", "show", "retry", "discard", "erase"]),
        ("adjust acme +5 --op", ["--operator"]),
        ("account show acme --output ", ["text", "json"]),
    ],
)
def test_settings_are_neither_read_nor_shown(words: str, offered: list[str], tmp_path: Path) -> None:
    """Neither those of the environment, which are wrong, nor a file, which cannot be read."""
    (tmp_path / ".env").write_bytes(b"\xff")
    wrong = {"CREDITS_DATABASE_URL": WRONG, "CREDITS_HTTP_TOKENS": WRONG, "CREDITS_OPERATOR": WRONG}
    assert complete("bash", words, tmp_path, **wrong) == offered


@pytest.mark.parametrize("shell", ASKS)
def test_the_script_of_each_shell_asks_the_command(shell: str, tmp_path: Path) -> None:
    script = run_main(tmp_path, _CREDITS_COMPLETE=f"source_{shell}")
    assert f"_CREDITS_COMPLETE=complete_{shell}" in script
