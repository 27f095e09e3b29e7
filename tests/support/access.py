"""Users with the logins of the four roles of a deployment, and the page's table of the roles."""

from __future__ import annotations

import re
import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg

from support.stack import in_a_loop_of_its_own, with_database

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = (Path(__file__).parents[2] / "deploy" / "POSTGRES_ACCESS.md").read_text()
ROLES = ("credits_service", "credits_relay", "credits_reader")
_GROUPS_SQL, _SET_UP_SQL = re.findall(r"^```sql\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)

Privilege = tuple[str, str | None]
"""What may be done, and to which column; None: to the whole."""


@dataclass(frozen=True, slots=True)
class Logins:
    """The addresses of one database by role."""

    owner: str
    service: str
    relay: str
    reader: str

    def settings(self) -> dict[str, str]:
        """The settings of a deployment that has them, named as behind `CREDITS_`, in small letters."""
        return {
            "database_url": self.service,
            "relay_database_url": self.relay,
            "read_database_url": self.reader,
            "migration_database_url": self.owner,
        }

    def of(self, role: str) -> str:
        """The address for one of `ROLES`."""
        urls: dict[str, str] = dict(zip(ROLES, (self.service, self.relay, self.reader), strict=True))
        return urls[role]


@contextmanager
def logins(database_url: str) -> Iterator[Logins]:
    """Users of this database's own, for as long as this lasts; `database_url` is a superuser's."""
    name, password = f"access_{secrets.token_hex(6)}", secrets.token_hex(12)
    statements = _set_up(name, password, database_url.rpartition("/")[2], is_there=True)
    with _users(database_url, name, statements):
        yield _logins(database_url, name, password)


@contextmanager
def database_of_its_own(superuser_url: str) -> Iterator[Logins]:
    """What the page's statements make: an empty database with its users."""
    name, password = f"access_{secrets.token_hex(6)}", secrets.token_hex(12)
    statements = _set_up(name, password, name, is_there=False)
    with _users(superuser_url, name, statements):
        try:
            yield _logins(with_database(superuser_url, name), name, password)
        finally:
            _run(superuser_url, [f"DROP DATABASE {name} WITH (FORCE)"])


def expected(head: str) -> dict[str, dict[str, set[Privilege]]]:
    """The page's table whose head begins so: what each role may, object by object."""
    lines = PAGE.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {head} |"))
    assert lines[start].strip("| ").split(" | ")[1:] == [f"`{role}`" for role in ROLES]
    objects = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        objects[name.strip("`")] = dict(zip(ROLES, map(_privileges, cells), strict=True))
    return objects


def _privileges(cell: str) -> set[Privilege]:
    found: set[Privilege] = set()
    for privilege, columns in re.findall(r"([A-Z]+)(?: \(([^)]*)\))?", cell):
        found |= {(privilege, column) for column in columns.split(", ")} if columns else {(privilege, None)}
    return found


def _set_up(name: str, password: str, database: str, *, is_there: bool) -> list[str]:
    made, owned = re.findall(r"((?:CREATE|ALTER) DATABASE ledger [^;]*;)", PAGE)
    text = _SET_UP_SQL.replace(made, " ".join(owned.split())) if is_there else _SET_UP_SQL
    text = text.replace("DATABASE ledger", f"DATABASE {database}").replace("ledger_", f"{name}_")
    return [line for line in text.replace("change-me", password).splitlines() if not line.startswith("--")]


def _logins(database_url: str, name: str, password: str) -> Logins:
    def of(user: str) -> str:
        parts = urlsplit(database_url)
        return parts._replace(netloc=f"{name}_{user}:{password}@{parts.netloc.rpartition('@')[2]}").geturl()

    return Logins(of("migrations"), of("service"), of("relay"), of("reader"))


@contextmanager
def _users(superuser_url: str, name: str, statements: list[str]) -> Iterator[None]:
    _run(superuser_url, _GROUPS_SQL.splitlines(), may_be_there=True)
    _run(superuser_url, statements)
    try:
        yield
    finally:
        users = ", ".join(f"{name}_{user}" for user in ("migrations", "service", "relay", "reader"))
        # The database may outlive them.
        _run(
            superuser_url,
            [f"REASSIGN OWNED BY {users} TO CURRENT_USER", f"DROP OWNED BY {users}", f"DROP ROLE {users}"],
        )


def _run(database_url: str, statements: list[str], *, may_be_there: bool = False) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(database_url)
        try:
            for statement in statements:
                try:
                    await connection.execute(statement)
                except (asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):
                    assert may_be_there, statement
        finally:
            await connection.close()

    in_a_loop_of_its_own(run)
