"""The new messages of a replay so far: the same message later in the range is a repeat, in a dry run as well."""

import sqlite3
from collections.abc import Sequence
from hashlib import blake2b

from credit_service.application.processing.known_events import MessageStatus
from credit_service.application.record import Record
from credit_service.application.temporary_files import temporary_room
from credit_service.domain.event import Incoming


class ReplayMemory:
    """Keys and contents of new messages, in a temporary file: there may be many. It has to be closed."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute("CREATE TABLE seen (key BLOB PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID")
        self._is_empty = True

    def repeats(self, records: Sequence[Record], statuses: Sequence[MessageStatus]) -> list[MessageStatus | None]:
        """The status of each record that repeats an earlier one of the range; None for the others.

        New records are noted. So a dry run counts like the real run, which finds the first one in the ledger. Raises
        `NoTemporaryRoom`.
        """
        if self._is_empty and "new" not in statuses:
            return [None] * len(records)
        with temporary_room():
            self._database.execute("BEGIN")
            found = [self._repeat(record, status) for record, status in zip(records, statuses, strict=True)]
            self._database.execute("COMMIT")
        return found

    def close(self) -> None:
        """Forgets everything."""
        self._database.close()

    def _repeat(self, record: Record, status: MessageStatus) -> MessageStatus | None:
        event = record.content
        if not isinstance(event, Incoming):
            return None
        key = blake2b(event.key + event.account_id.encode(), digest_size=16).digest()
        seen = self._database.execute("SELECT content FROM seen WHERE key = ?", (key,)).fetchone()
        if seen is not None:
            return "duplicate" if seen[0] == event.content else "conflict"
        if status == "new":
            self._database.execute("INSERT INTO seen VALUES (?, ?)", (key, event.content))
            self._is_empty = False
        return None
