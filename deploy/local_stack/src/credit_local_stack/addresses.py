"""Where the two servers are, and the environment variables that say so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from credit_local_stack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

DATABASE_URL = "CREDITS_DATABASE_URL"
BOOTSTRAP_SERVERS = "CREDITS_KAFKA_BOOTSTRAP_SERVERS"


@dataclass(frozen=True, slots=True)
class Addresses:
    """A Postgres database and a Kafka cluster that belong together."""

    database_url: str
    bootstrap_servers: str

    def environment(self) -> dict[str, str]:
        """Return the two variables that the service reads."""
        return {DATABASE_URL: self.database_url, BOOTSTRAP_SERVERS: self.bootstrap_servers}

    @classmethod
    def given(cls, environ: Mapping[str, str]) -> Addresses | None:
        """Return what the environment names, or None if it names neither."""
        database_url = environ.get(DATABASE_URL, "")
        bootstrap_servers = environ.get(BOOTSTRAP_SERVERS, "")
        if database_url and bootstrap_servers:
            return cls(database_url, bootstrap_servers)
        if database_url or bootstrap_servers:
            found, missing = (DATABASE_URL, BOOTSTRAP_SERVERS) if database_url else (BOOTSTRAP_SERVERS, DATABASE_URL)
            raise UsageError(f"{found} is set but {missing} is not: set both, or neither")
        return None
