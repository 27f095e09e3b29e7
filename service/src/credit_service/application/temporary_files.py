"""What notes things in a temporary file meets a folder that may be full, missing, or not to be written."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_NO_ROOM: Final = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
_PRIMARY_CODE: Final = 0xFF


class NoTemporaryRoom(Exception):  # noqa: N818 - reads as the condition that it reports
    """There is no room in the temporary folder."""

    def __init__(self, told: str) -> None:
        super().__init__(
            f"no room in the temporary folder ({told}): TMPDIR names it, else it is /var/tmp or /tmp;"
            " it has to be there, not full, and open to be written"
        )


@contextmanager
def temporary_room() -> Iterator[None]:
    """Around what SQLite does in a temporary file; raises `NoTemporaryRoom`."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & _PRIMARY_CODE in _NO_ROOM:
            raise NoTemporaryRoom(str(error)) from None
        raise
