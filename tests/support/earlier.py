"""The service of an earlier commit of this repository, to run beside the one under test."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

_REPOSITORY = Path(__file__).parents[2]
_PACKAGES = ("service/src", "contracts/src")
_MAIN = "import sys; from credit_service.cli.main import main; sys.argv[0] = 'credits'; sys.exit(main())"


def earlier_state(commit: str, folder: Path) -> Path:
    """The sources of that commit, in `folder`; skips the test where there is no history, or only the end of it."""
    is_shallow = _git("rev-parse", "--is-shallow-repository")
    if is_shallow.returncode or is_shallow.stdout.strip() == b"true":
        pytest.skip("needs the history of the repository")
    archive = _git("archive", "--format=tar", commit, *_PACKAGES)
    assert not archive.returncode, archive.stderr.decode()
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")
    return folder


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    # By its path: git would find another's repository from the folder of a test.
    command = ["git", "-C", str(_REPOSITORY), *arguments]
    return subprocess.run(command, capture_output=True, check=False)


class EarlierProcess:
    """One command of that state, with the packages of this run; as `support.forked.Forked` for `ServiceProcess`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    @classmethod
    async def start(
        cls, state: Path, *arguments: str, environment: Mapping[str, str], folder: Path, log: Path, first: str
    ) -> EarlierProcess:
        path = os.pathsep.join(str(state / package) for package in _PACKAGES)
        with log.open("ab") as output:
            return cls(
                await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-c",
                    f"{first}\n{_MAIN}",
                    *arguments,
                    env={**environment, "PYTHONPATH": path},
                    cwd=folder,
                    stdout=output,
                    stderr=output,
                )
            )

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    def send_signal(self, number: int) -> None:
        self._process.send_signal(number)

    async def wait(self) -> int:
        return await self._process.wait()
