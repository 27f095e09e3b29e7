"""Passwords from a file or a program: when they are asked for, and what is said where there is none."""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from credit_service.application.errors import NoPassword
from credit_service.postgres import passwords
from credit_service.postgres.address import Address, Addresses, variables_of
from credit_service.postgres.migrate import migrate
from credit_service.postgres.passwords import PasswordCommand, PasswordFile
from credit_service.settings import Settings, SettingsError, load_settings
from support.patience import patience
from support.wait import eventually

SECRET = "hunter2-of-the-database"  # noqa: S105 - what must not be told
URL = "postgresql://service@db.internal/ledger"
WITH_PASSWORD = f"postgresql://service:{SECRET}@db.internal/ledger"


def command(tmp_path: Path, code: str = "", **variables: str) -> tuple[PasswordCommand, Path]:
    """Prints how often it was run; and the file in which that is counted."""
    runs = tmp_path / "runs"
    body = f"{code}\nfile = open({str(runs)!r}, 'a+'); file.write('.'); file.seek(0); print('secret', len(file.read()))"
    return PasswordCommand("THE_SETTING", f"{shlex.quote(sys.executable)} -c {shlex.quote(body)}", variables), runs


async def test_a_file_is_read_again_each_time(tmp_path: Path) -> None:
    file = tmp_path / "password"
    password = PasswordFile("THE_SETTING", file)
    for told in ("first", "  second\n"):
        file.write_text(told)
        assert await password.ask() == password.read() == told.strip()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "the file cannot be read: No such file or directory"),
        (b" \n", "the file is empty"),
        (SECRET.encode() + b"\xff", "the file is not UTF-8"),
        (SECRET.encode() * 10_000, "the file holds more than 65536 bytes"),
    ],
)
async def test_a_file_without_a_password_is_one_line_that_names_the_setting(
    content: bytes | None, told: str, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(NoPassword) as caught:
        await PasswordFile("THE_SETTING", file).ask()
    assert str(caught.value) == f"THE_SETTING: {told}"


async def test_a_file_that_nobody_writes_is_waited_for_by_one_thread_and_not_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "FILE_SECONDS_MAX", 0.05)
    os.mkfifo(tmp_path / "password")
    password, threads = PasswordFile("THE_SETTING", tmp_path / "password"), set(threading.enumerate())
    for _ in range(3):
        with pytest.raises(NoPassword, match=r"^THE_SETTING: the file is not read within 0\.05 s$"):
            async with asyncio.timeout(patience(10)):
                await password.ask()
    assert len(set(threading.enumerate()) - threads) == 1
    monkeypatch.setattr(passwords, "FILE_SECONDS_MAX", 10.0)
    (tmp_path / "password").write_text("at last")
    assert await password.ask() == "at last"


async def test_that_no_thread_can_be_started_is_an_error_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(OSError, match="no thread can be started"):
        await PasswordFile("THE_SETTING", tmp_path / "password").ask()


async def test_what_a_program_printed_is_used_until_it_is_old_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    password, _ = command(tmp_path)
    assert [await password.ask(), await password.ask(), await password.ask(refused="another")] == ["secret 1"] * 3
    assert await password.ask(refused="secret 1") == "secret 2"
    assert await password.ask() == "secret 2"
    monkeypatch.setattr(passwords, "KEPT_SECONDS_MAX", 0.0)
    assert await password.ask() == "secret 3"


async def test_nobody_waits_for_the_program_while_what_it_printed_may_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = tmp_path / "go-on"
    password, runs = command(tmp_path, f"import os, time\nwhile not os.path.exists({str(go_on)!r}): time.sleep(0.01)")
    go_on.touch()
    assert await password.ask() == "secret 1"
    go_on.unlink()
    monkeypatch.setattr(passwords, "RENEWED_AFTER_SECONDS", 0.0)
    assert [await password.ask() for _ in range(3)] == ["secret 1"] * 3
    go_on.touch()

    async def is_renewed() -> bool:
        return await password.ask() != "secret 1"

    await eventually(is_renewed, what="the next password")
    monkeypatch.setattr(passwords, "RENEWED_AFTER_SECONDS", 3600.0)
    await eventually(lambda: ran(password), what="the end of the last run")
    assert await password.ask() == f"secret {len(runs.read_text())}"


async def ran(password: PasswordCommand) -> bool:
    return password._reading is None or password._reading.done()


async def test_a_program_that_fails_takes_nothing_away_that_may_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = tmp_path / "fails"
    password, _ = command(tmp_path, f"import os, sys\nif os.path.exists({str(fails)!r}): sys.exit(3)")
    assert await password.ask() == "secret 1"
    fails.touch()
    monkeypatch.setattr(passwords, "RENEWED_AFTER_SECONDS", 0.0)
    assert await password.ask() == "secret 1"
    await eventually(lambda: ran(password), what="the end of the run")
    assert await password.ask() == "secret 1"
    with pytest.raises(NoPassword, match="ends with exit code 3"):
        await password.ask(refused="secret 1")


async def test_a_program_is_not_run_for_each_connection_that_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "FAILURE_KEPT_SECONDS", 3600.0)
    password, runs = command(tmp_path)
    for _ in range(5):
        refused = await password.ask()
        await password.ask(refused=refused)
    assert runs.read_text() == ".."


async def test_all_who_ask_at_the_same_time_are_answered_by_one_run(tmp_path: Path) -> None:
    password, runs = command(tmp_path, "import time; time.sleep(0.2)")
    assert set(await asyncio.gather(*(password.ask() for _ in range(10)))) == {"secret 1"}
    assert runs.read_text() == "."


async def test_whoever_gives_up_takes_nothing_from_the_others(tmp_path: Path) -> None:
    password, _ = command(tmp_path, "import time; time.sleep(0.3)")
    impatient, patient = asyncio.create_task(password.ask()), asyncio.create_task(password.ask())
    await asyncio.sleep(0)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    assert await patient == "secret 1"


async def test_a_program_that_fails_is_one_line_and_not_run_again_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "FAILURE_KEPT_SECONDS", 3600.0)
    runs = tmp_path / "runs"
    code = f"open({str(runs)!r}, 'a').write('.'); print({SECRET!r}); raise SystemExit(3)"
    password = PasswordCommand("THE_SETTING", f"{shlex.quote(sys.executable)} -c {shlex.quote(code)}", {})
    for _ in range(3):
        with pytest.raises(NoPassword, match=r"^THE_SETTING: .* ends with exit code 3") as caught:
            await password.ask()
        assert SECRET not in str(caught.value)
    assert runs.read_text() == "."
    monkeypatch.setattr(passwords, "FAILURE_KEPT_SECONDS", 0.0)
    with pytest.raises(NoPassword):
        await password.ask()
    assert runs.read_text() == ".."


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (URL, ("db.internal", "5432", "service", "ledger")),
        ("postgresql://a%40b:x@[::1]:6000/led%2Fger?sslmode=require", ("::1", "6000", "a@b", "led/ger")),
        ("postgresql://u@one,two:6432/l", ("one,two", "5432,6432", "u", "l")),
        ("postgresql://u@db", ("db", "5432", "u", "u")),
        ("postgresql:///l?host=db&port=1&user=u", ("db", "1", "u", "l")),
        ("postgresql://?host=db&user=u&dbname=l", ("db", "5432", "u", "l")),
    ],
)
def test_a_program_is_told_for_whom(url: str, told: tuple[str, ...]) -> None:
    assert variables_of(url) == dict(zip(("PGHOST", "PGPORT", "PGUSER", "PGDATABASE"), told, strict=True))


async def test_a_program_gets_them_in_its_environment() -> None:
    code = "import os; print(*(os.environ[name] for name in ('PGHOST', 'PGPORT', 'PGUSER', 'PGDATABASE')))"
    run = f"{shlex.quote(sys.executable)} -c {shlex.quote(code)}"
    assert await PasswordCommand("S", run, variables_of(URL)).ask() == "db.internal 5432 service ledger"


# --- the settings


def given(monkeypatch: pytest.MonkeyPatch, **settings: str) -> Settings:
    for name, value in {"kafka_bootstrap_servers": "kafka:9092", "database_url": URL, **settings}.items():
        monkeypatch.setenv(f"CREDITS_{name.upper()}", value)
    return load_settings()


def files(addresses: Addresses) -> list[tuple[str, str] | None]:
    """The setting and the file of each role."""
    roles = (addresses.service, addresses.relay, addresses.reader, addresses.migrations)
    return [
        (one.password._variable, str(one.password._file)) if isinstance(one.password, PasswordFile) else None
        for one in roles
    ]


def test_one_file_is_enough_for_all_roles_whose_url_has_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = Addresses.of(
        given(monkeypatch, database_password_file="/f", relay_database_url=WITH_PASSWORD)  # noqa: S106 - a path
    )
    first = ("CREDITS_DATABASE_PASSWORD_FILE", "/f")
    assert files(addresses) == [first, None, first, first]
    assert addresses.service is addresses.reader is addresses.migrations


def test_each_role_may_have_a_file_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {f"{role}database_password_file": f"/{role}f" for role in ("", "relay_", "read_", "migration_")}
    named = [(f"CREDITS_{name.upper()}", file) for name, file in own.items()]
    assert files(Addresses.of(given(monkeypatch, **own))) == named


def test_one_command_is_for_all_roles_each_with_its_user(monkeypatch: pytest.MonkeyPatch) -> None:
    relay = "postgresql://relay@db.internal/ledger"
    settings = given(monkeypatch, database_password_command="true", relay_database_url=relay)  # noqa: S106
    addresses = Addresses.of(settings)
    for address, user in ((addresses.service, "service"), (addresses.relay, "relay"), (addresses.reader, "service")):
        assert isinstance(address.password, PasswordCommand)
        assert address.password._variables["PGUSER"] == user
        assert address.password._variable == "CREDITS_DATABASE_PASSWORD_COMMAND"


def test_a_command_is_for_the_urls_that_have_neither_a_password_nor_a_file_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = given(
        monkeypatch,
        database_password_command="true",  # noqa: S106 - a program
        read_database_password_file="/f",  # noqa: S106 - a path
        relay_database_url=WITH_PASSWORD,
    )
    addresses = Addresses.of(settings)
    assert isinstance(addresses.service.password, PasswordCommand)
    assert addresses.relay.password is None
    assert files(addresses) == [None, None, ("CREDITS_READ_DATABASE_PASSWORD_FILE", "/f"), None]
    assert addresses.service is addresses.migrations


def test_one_file_may_be_for_another_url_than_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = given(
        monkeypatch,
        database_url=WITH_PASSWORD,
        read_database_url=URL,
        database_password_file="/f",  # noqa: S106 - a path
    )
    assert files(Addresses.of(settings)) == [None, None, ("CREDITS_DATABASE_PASSWORD_FILE", "/f"), None]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            {"database_url": WITH_PASSWORD, "database_password_file": "/f"},
            "CREDITS_DATABASE_PASSWORD_FILE set, but each URL has a password, or a file of one, of its own",
        ),
        (
            {"database_url": f"{URL}?password={SECRET}", "read_database_password_file": "/f"},
            "CREDITS_READ_DATABASE_PASSWORD_FILE set, but CREDITS_DATABASE_URL has a password of its own",
        ),
        (
            {"relay_database_url": WITH_PASSWORD, "relay_database_password_file": "/f"},
            "CREDITS_RELAY_DATABASE_PASSWORD_FILE set, but CREDITS_RELAY_DATABASE_URL has a password of its own",
        ),
        (
            {"database_url": WITH_PASSWORD, "database_password_command": "true"},
            "CREDITS_DATABASE_PASSWORD_COMMAND set, but each URL has a password, or a file of one, of its own",
        ),
        (
            {"database_password_file": "/f", "database_password_command": "true"},
            "CREDITS_DATABASE_PASSWORD_FILE, CREDITS_DATABASE_PASSWORD_COMMAND set, and only one of them can be",
        ),
        (
            {"database_password_command": f"/not/there {SECRET}"},
            "CREDITS_DATABASE_PASSWORD_COMMAND: must begin with a program that is here",
        ),
        (
            {"database_password_command": f"true '{SECRET}"},
            "CREDITS_DATABASE_PASSWORD_COMMAND: No closing quotation",
        ),
    ],
)
def test_a_password_that_is_said_twice_or_by_no_program_is_an_error(
    settings: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError) as caught:
        given(monkeypatch, **settings)
    assert str(caught.value) == told


def test_no_setting_shows_a_password_or_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = given(monkeypatch, database_password_command=f"true {SECRET}")
    assert SECRET not in repr(settings)
    assert SECRET not in repr(Addresses.of(settings))
    assert SECRET not in repr(Address(WITH_PASSWORD))


def test_migrations_get_the_password_by_the_environment_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[list[str], dict[str, str]]] = []

    def run(arguments: list[str], *, env: dict[str, str], **_: Any) -> subprocess.CompletedProcess[str]:
        ran.append((arguments, env))
        return subprocess.CompletedProcess(arguments, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    (tmp_path / "password").write_text(SECRET)
    migrate(Address(URL, PasswordFile("S", tmp_path / "password")))
    ((arguments, environment),) = ran
    assert SECRET not in " ".join(arguments)
    assert environment["PGPASSWORD"] == SECRET
    assert environment["DATABASE_URL"] == f"{URL}?sslmode=prefer"
