"""Reads and changes one variable of a file such as `.env`."""

import os
import shutil
import tempfile
from pathlib import Path


def read_variable(file: Path, name: str) -> str | None:
    """Reads the variable as the service does; None if the file has none."""
    from dotenv import dotenv_values

    return dotenv_values(file).get(name)


def write_variable(file: Path, name: str, value: str) -> None:
    """Replaces the file at once, or the file that a link leads to; owner, group and permissions stay.

    Raises `OSError` if that is impossible, and `ValueError` if the file would be read with another value; then the file
    is unchanged.
    """
    from dotenv import set_key

    file = file.resolve()
    with tempfile.TemporaryDirectory(prefix=".tmp_", dir=file.parent) as folder:
        written = Path(folder) / file.name
        if file.exists():
            _copy(file, written)
        set_key(written, name, value)
        if file.exists():
            _keep_owner(file, written)
        if read_variable(written, name) != value:
            raise ValueError("cannot be written so that it is read as it is")
        written.replace(file)


def _copy(file: Path, copy: Path) -> None:
    copy.touch(mode=0o600)
    shutil.copyfile(file, copy)


def _keep_owner(file: Path, written: Path) -> None:
    wanted, found = file.stat(), written.stat()
    if (wanted.st_uid, wanted.st_gid) != (found.st_uid, found.st_gid):
        try:
            os.chown(written, wanted.st_uid, wanted.st_gid)
        except PermissionError:
            raise PermissionError(1, "it belongs to another user or group, and would become this user's") from None
    shutil.copymode(file, written)
