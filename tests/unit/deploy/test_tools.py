"""The tools that read what is deployed: what cannot be had is tried again, then said, and let nothing in unread."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from support.deployed import DEPLOY, ROOT
from support.patience import patience

BUILD = DEPLOY / "tools" / "build"
AWAY = "go: modules.example/helm/@v/v4.zip: dial tcp: lookup modules.example: no such host"
BUSY = "go: reading https://modules.example/helm/@v/v4.zip: 503 Service Unavailable"
SECONDS_MAX = 60


def build(folder: Path, said: str, failures: int) -> subprocess.CompletedProcess[str]:
    """With a go that fails so often, and says so."""
    go = folder / "go"
    go.write_text(
        f"""#!/bin/sh
echo . >> {folder}/calls
[ $(wc -l < {folder}/calls) -gt {failures} ] || {{ echo '{said}' >&2; exit 1; }}
while [ "$1" != -o ]; do shift; done
touch "$2"
"""
    )
    go.chmod(0o755)
    return subprocess.run(
        [BUILD, folder / "built", go, "0"], capture_output=True, text=True, check=False, timeout=patience(SECONDS_MAX)
    )


def calls(folder: Path) -> int:
    return len((folder / "calls").read_text("utf-8").splitlines())


@pytest.mark.parametrize("said", [AWAY, BUSY])
def test_what_is_away_for_a_moment_is_loaded_again(said: str, tmp_path: Path) -> None:
    done = build(tmp_path, said, failures=2)

    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "built").iterdir() if not path.suffix} == {"compose", "helm", "promtool"}
    assert calls(tmp_path) == 3 + 2


def test_what_stays_away_is_said_after_three_attempts(tmp_path: Path) -> None:
    done = build(tmp_path, AWAY, failures=100)

    assert done.returncode == 3
    assert done.stdout.splitlines()[-1] == "skipped: compose could not be had"
    assert "no such host" in done.stderr
    assert calls(tmp_path) == 3


def test_what_does_not_have_its_hash_fails_at_once(tmp_path: Path) -> None:
    done = build(tmp_path, "verifying module: checksum mismatch", failures=100)

    assert done.returncode == 1
    assert calls(tmp_path) == 1


@pytest.mark.parametrize(
    ("required", "exit_code", "told"),
    [("", 0, ""), ("1", 2, "deploy-check is required here: chart, alerts and compose file were not checked")],
)
def test_a_person_without_go_sees_that_it_was_skipped_and_a_gate_fails(
    required: str, exit_code: int, told: str
) -> None:
    done = subprocess.run(
        # The environment is there, and is not to be made anew in the midst of a test.
        ["make", "--old-file=.venv/ready", "deploy-check", "GO=", f"REQUIRED={required}"],  # noqa: S607
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
        capture_output=True,
        text=True,
        check=False,
        timeout=patience(SECONDS_MAX),
    )

    assert (done.returncode, done.stdout) == (exit_code, "skipped: needs go\n")
    assert done.stderr.splitlines()[:1] == ([told] if told else [])


def test_the_gate_of_every_change_asks_for_it() -> None:
    assert "\nmake deploy-check #" in (ROOT / ".ci" / "run").read_text("utf-8")
