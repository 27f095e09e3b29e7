"""Faults of temporary files: their folder may be full, missing, or read-only."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_NO_ROOM: Final = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
_PRIMARY_CODE: Final = 0xFF


class NoTemporaryRoom(Exception):  # noqa: N818 - reads as the condition that it reports
    """There is no room in the temporary folder."""

    def __init__(self, cause: str) -> None:
        super().__init__(
            f"no room in the temporary folder ({cause}): TMPDIR names it, else it is /var/tmp or /tmp;"
            " it has to be there, not full, and open to be written"
        )


@contextmanager
def temporary_room() -> Iterator[None]:
    """Raises `NoTemporaryRoom` where SQLite has no room for its temporary file."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & _PRIMARY_CODE in _NO_ROOM:
            raise NoTemporaryRoom(str(error)) from None
        raise
