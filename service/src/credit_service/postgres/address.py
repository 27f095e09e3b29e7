"""The database address and the password of each role."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

from credit_service.postgres.passwords import Password, PasswordCommand, PasswordFile

if TYPE_CHECKING:
    from credit_service.settings import Settings

PORT = "5432"
PASSWORD_COMMAND = "CREDITS_DATABASE_PASSWORD_COMMAND"  # noqa: S105 - the name of a setting


@dataclass(eq=False, slots=True)
class Address:
    """One URL and its password; None: the one in the URL, or in libpq's own variables and files.

    `variable` is the setting that holds the URL. `has_sessions` is set when a check has shown that no pooler shares
    its sessions.
    """

    url: str = field(repr=False)
    password: Password | None = field(default=None, repr=False)
    variable: str = "the address"
    has_sessions: bool = field(default=False, init=False)

    @classmethod
    def of(cls, where: "Address | str") -> "Address":
        """`where`, or the address of a URL that needs no password."""
        return cls(where) if isinstance(where, str) else where


@dataclass(frozen=True, slots=True)
class Addresses:
    """The address of each role; roles with the same login share one."""

    service: Address
    relay: Address
    reader: Address
    migrations: Address

    @classmethod
    def of(cls, settings: "Settings") -> "Addresses":
        """The addresses of the settings; no password is read yet."""
        made: dict[object, Address] = {}

        def address(role: str) -> Address:
            variable, url, way = settings.database(role)
            if (url, way) not in made:
                made[url, way] = Address(url, _password(url, way), variable)
            return made[url, way]

        return cls(address(""), address("relay_"), address("read_"), address("migration_"))

    @property
    def served(self) -> list[Address]:
        """The addresses that the service itself connects to, each once."""
        return list(dict.fromkeys((self.service, self.reader, self.relay)))


def variables_of(url: str) -> dict[str, str]:
    """The parts of a URL by which a program finds its password, under libpq's names."""
    parts = urlsplit(url)
    login, _, hosts = parts.netloc.rpartition("@")
    parameters = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    user = unquote(login.partition(":")[0]) or parameters.get("user", "")
    places = [_host_and_port(host) for host in hosts.split(",") if host]
    variables = {
        "PGHOST": ",".join(host for host, _ in places) or parameters.get("host", ""),
        "PGPORT": ",".join(port for _, port in places) or parameters.get("port", PORT),
        "PGUSER": user,
        "PGDATABASE": unquote(parts.path[1:]) or parameters.get("dbname") or parameters.get("database") or user,
    }
    return {name: value for name, value in variables.items() if value}


def _host_and_port(text: str) -> tuple[str, str]:
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        return host, port.removeprefix(":") or PORT
    host, _, port = text.partition(":")
    return unquote(host), port or PORT


def _password(url: str, way: tuple[str, Path] | str | None) -> Password | None:
    if isinstance(way, tuple):
        return PasswordFile(*way)
    return PasswordCommand(PASSWORD_COMMAND, way, variables_of(url)) if way else None
