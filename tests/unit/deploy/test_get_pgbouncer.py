"""PgBouncer where it cannot be had: said by the script, a skip for a person, and a failure where it is required."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from support import pgbouncer
from support.deployed import DEPLOY
from support.patience import patience

GET = DEPLOY / "tools" / "get-pgbouncer"
TOLD = "skipped: pgbouncer could not be had"


def get(folder: Path) -> subprocess.CompletedProcess[str]:
    """With a client of Debian's that has nothing."""
    client = folder / "bin" / "apt-get"
    client.parent.mkdir()
    client.write_text("#!/bin/sh\necho 'E: Unable to locate package' >&2\nexit 100\n")
    client.chmod(0o755)
    for tool in ("dpkg-deb", "ldd", "flock"):
        (client.parent / tool).write_text("#!/bin/sh\n")
        (client.parent / tool).chmod(0o755)
    return subprocess.run(
        [GET, folder / "got"],
        env={"PATH": f"{client.parent}:{os.defpath}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=patience(60),
    )


def test_a_package_that_cannot_be_had_is_said(tmp_path: Path) -> None:
    done = get(tmp_path)

    assert (done.returncode, done.stdout.splitlines()[-1]) == (3, TOLD)
    assert not (tmp_path / "got" / "pgbouncer").exists()
    assert not list((tmp_path / "got").glob("new.*"))


@pytest.mark.parametrize("missing", ["apt-get", "dpkg-deb", "ldd", "flock"])
def test_a_tool_that_is_not_there_is_said(missing: str, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("bash", "mkdir"):
        (tools / tool).symlink_to(str(shutil.which(tool)))
    for tool in {"apt-get", "dpkg-deb", "ldd", "flock"} - {missing}:
        (tools / tool).write_text("#!/bin/sh\nexit 1\n")
        (tools / tool).chmod(0o755)
    done = subprocess.run(
        [GET, tmp_path / "got"],
        env={"PATH": str(tools)},
        capture_output=True,
        text=True,
        check=False,
        timeout=patience(60),
    )

    assert (done.returncode, done.stdout) == (3, "skipped: needs apt-get, dpkg-deb, ldd and flock\n")


@pytest.mark.parametrize(
    ("required", "ci", "client", "ends"),
    [
        ("", "", "/usr/bin/apt-get", pytest.skip.Exception),
        ("1", "", None, pytest.fail.Exception),
        ("", "true", "/usr/bin/apt-get", pytest.fail.Exception),
        ("", "true", None, pytest.skip.Exception),
    ],
)
def test_a_person_sees_that_it_was_skipped_and_a_gate_fails(
    required: str, ci: str, client: str | None, ends: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(pgbouncer.REQUIRED, required)
    monkeypatch.setenv(pgbouncer.CI, ci)
    monkeypatch.setattr(pgbouncer, "which", lambda _: client)
    monkeypatch.setattr(
        subprocess, "run", lambda *arguments, **_: subprocess.CompletedProcess(arguments, 3, f"{TOLD}\n", "")
    )
    with pytest.raises(ends, match=TOLD):
        pgbouncer.binary.__wrapped__()
