"""The rows that a dry run has tried, so that a repeated row has the answer of a real run."""

import sqlite3
from collections.abc import Iterable, Sequence
from hashlib import blake2b

from credit_service.application.temporary_files import temporary_room
from credit_service.domain.command import Command


class TrialMemory:
    """Keys and contents of rows that were opened and rolled back, in a temporary file: there may be many.

    Raises `NoTemporaryRoom`.
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute("CREATE TABLE opened (key BLOB PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID")

    def contents_of(self, commands: Sequence[Command]) -> list[bytes | None]:
        """The content with which each command's key was opened before; None if it was not."""
        select = "SELECT content FROM opened WHERE key = ?"
        with temporary_room():
            rows = [self._database.execute(select, (_key(command),)).fetchone() for command in commands]
        return [row and row[0] for row in rows]

    def note(self, commands: Iterable[Command]) -> None:
        """Notes that these were opened."""
        insert = "INSERT OR IGNORE INTO opened VALUES (?, ?)"
        with temporary_room():
            self._database.execute("BEGIN")
            self._database.executemany(insert, ((_key(command), command.content) for command in commands))
            self._database.execute("COMMIT")

    def close(self) -> None:
        """Forgets everything."""
        self._database.close()


def _key(command: Command) -> bytes:
    return blake2b(command.key + command.account_id.encode(), digest_size=16).digest()
