"""Passwords that are changed while the service runs, and those that are not there."""

from __future__ import annotations

import asyncio
import secrets
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from credit_local_stack import Addresses
from credit_service.application.errors import AccessDenied
from credit_service.postgres.address import Address
from credit_service.postgres.faults import translated_errors
from credit_service.postgres.passwords import PasswordFile
from credit_service.postgres.session import connect
from support.access import Logins, logins
from support.canaries import flown, secret
from support.credits import run_credits
from support.reconciled import reconcile
from support.service import Deployment, ServiceProcess
from support.stack import fresh_database
from support.traffic import random_traffic, slices
from support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EVENTS = 400
AT_ONCE = 40
FILES = {
    "service": "database_password_file",
    "relay": "relay_database_password_file",
    "reader": "read_database_password_file",
    "owner": "migration_database_password_file",
}


def without_password(url: str) -> str:
    at = urlsplit(url)
    return at._replace(netloc=f"{at.username}@{at.netloc.rpartition('@')[2]}").geturl()


@dataclass
class Users:
    """The four users of a deployment; the password of each is in a file of its own, by the user's name."""

    logins: Logins
    superuser: str
    folder: Path

    def __post_init__(self) -> None:
        for role in FILES:
            url = urlsplit(getattr(self.logins, role))
            self._file(role).write_text(f"{url.password}\n")

    def _file(self, role: str) -> Path:
        return self.folder / str(urlsplit(getattr(self.logins, role)).username)

    def urls(self) -> dict[str, str]:
        return {name: without_password(url) for name, url in self.logins.settings().items()}

    def by_files(self) -> dict[str, str]:
        return self.urls() | {setting: str(self._file(role)) for role, setting in FILES.items()}

    def by_command(self) -> dict[str, str]:
        """By a program that looks for whom it is asked, as those of clouds are."""
        code = f"import os; print(open({str(self.folder)!r} + '/' + os.environ['PGUSER']).read())"
        return self.urls() | {"database_password_command": f"{shlex.quote(sys.executable)} -c {shlex.quote(code)}"}

    async def change(self) -> int:
        """New passwords for all; how many sessions were open, and have ended."""
        connection = await asyncpg.connect(self.superuser)
        try:
            for role in FILES:
                user, password = self._file(role).name, secret(secrets.token_hex(8))
                beside = self.folder / f"{user}.new"
                beside.write_text(password)
                async with connection.transaction():
                    # Who logs in meanwhile waits, so that nobody meets one of them changed and the other not.
                    await connection.execute("LOCK TABLE pg_authid IN ACCESS EXCLUSIVE MODE")
                    await connection.execute(f"ALTER ROLE {user} PASSWORD '{password}'")
                    beside.replace(self._file(role))
            users = [self._file(role).name for role in FILES]
            ended = await connection.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = ANY ($1)", users
            )
            return len(ended)
        finally:
            await connection.close()


@pytest.fixture
def users(deployment: Deployment, tmp_path: Path) -> Iterator[Users]:
    folder = tmp_path / "passwords"
    folder.mkdir()
    with logins(deployment.database_url) as made:
        yield Users(made, deployment.database_url, folder)


@pytest.mark.parametrize("way", [Users.by_files, Users.by_command], ids=["files", "command"])
async def test_passwords_that_are_changed_under_load_need_no_restart(
    deployment: Deployment, users: Users, way: Callable[[Users], dict[str, str]]
) -> None:
    await deployment.make_topics()
    service = await (await deployment.start(**way(users))).ready()
    ended = 0
    async with deployment.upstream() as upstream:
        for number, part in enumerate(slices(random_traffic(31, events=EVENTS), AT_ONCE)):
            await upstream.send(part)
            if number in (2, 6):
                ended += await users.change()
    await deployment.oracle().check()
    await service.ready()
    assert ended
    lines = [line for event in ("not ready", "relay restarts") for line in service.logged(event)]
    assert [line for line in lines if "denies" in line.get("problem", "")] == []
    assert '"level": "error"' not in service.said()
    by_now: dict[str, Any] = dict(way(users))
    done = await reconcile(deployment, **by_now)
    assert (done.found, done.exit_code) == (set(), 0)
    assert await service.terminate() == 0
    assert flown({"log": service.said(), "reconcile": done.said}) == []


async def says(service: ServiceProcess, words: str) -> None:
    async def is_said() -> bool:
        return any(words in problem for problem in (await service.problems()).values())

    await eventually(is_said, what=words)


@pytest.mark.parametrize(
    ("setting", "content", "told"),
    [
        (
            "database_password_file",
            None,
            "CREDITS_DATABASE_PASSWORD_FILE: the file cannot be read: No such file or directory",
        ),
        ("database_password_file", "", "CREDITS_DATABASE_PASSWORD_FILE: the file is empty"),
        ("database_password_command", None, "ends with exit code 1; run it by hand to see why"),
    ],
)
async def test_a_password_that_is_not_there_is_said_and_waited_for(
    deployment: Deployment, users: Users, setting: str, content: str | None, told: str, tmp_path: Path
) -> None:
    await deployment.make_topics(partitions=1)
    password = tmp_path / "the-password"
    if content is not None:
        password.write_text(content)
    by = {"database_password_file": str(password), "database_password_command": f"cat {password}"}
    settings = {"database_url": without_password(users.superuser), setting: by[setting]}
    service = await deployment.start(**settings)
    await says(service, told)
    (line,) = service.logged("not ready")[:1]
    assert told in line["problem"]
    assert "CREDITS_DATABASE_PASSWORD_" in line["problem"]
    asked: dict[str, Any] = {
        "folder": tmp_path,
        "kafka_bootstrap_servers": deployment.kafka,
        "topic_prefix": deployment.prefix,
    }
    asked |= settings
    for command in ("account list", "migrate", "adjust acme +1 --id one --reason r --yes"):
        done = await asyncio.to_thread(run_credits, *command.split(), **asked)
        assert done.returncode == 1
        assert told in done.stderr.splitlines()[-1], command
    doctor = await asyncio.to_thread(run_credits, "doctor", "--output", "json", **asked)
    assert told in doctor.stdout
    assert "correct what that setting names" in doctor.stdout

    password.write_text(urlsplit(users.superuser).password or "")
    await service.ready()
    assert await service.terminate() == 0


def test_migrations_take_the_password_from_a_file_or_a_program(stack: Addresses, tmp_path: Path) -> None:
    password = tmp_path / "the-password"
    for setting, value in (
        ("migration_database_password_file", password),
        ("database_password_command", f"cat {password}"),
    ):
        with fresh_database(stack.database_url, "template1") as url:
            password.write_text("wrong")
            settings = {"database_url": without_password(url), setting: value, "kafka_bootstrap_servers": "127.0.0.1:1"}
            denied = run_credits("migrate", folder=tmp_path, **settings)
            assert denied.returncode == 1
            assert denied.stderr == "credits: the database denies access: the password is wrong, SQLSTATE 28P01\n"
            password.write_text(urlsplit(url).password or "")
            done = run_credits("migrate", folder=tmp_path, **settings)
            assert done.returncode == 0, done.stderr


async def test_a_password_that_is_changed_between_reading_and_login_is_read_again(
    database_url: str, tmp_path: Path
) -> None:
    right = urlsplit(database_url).password or ""
    told = iter(["wrong", right, "wrong", "wrong"])

    class Changing(PasswordFile):
        async def ask(self, refused: str | None = None) -> str:  # noqa: ARG002 - as it is called
            return next(told)

    address = Address(without_password(database_url), Changing("S", tmp_path))
    await (await connect(address)).close()
    with pytest.raises(AccessDenied, match="the password is wrong"), translated_errors():
        await connect(address)
