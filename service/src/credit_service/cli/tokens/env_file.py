"""A file of variables, such as `.env`, one of which is changed."""

import os
import shutil
import tempfile
from pathlib import Path


def read_variable(file: Path, name: str) -> str | None:
    """The variable as a service that reads the file has it."""
    from dotenv import dotenv_values

    return dotenv_values(file).get(name)


def write_variable(file: Path, name: str, value: str) -> None:
    """Writes it all at once: the file that a link leads to, which stays its owner's, its group's and as open as it was.

    Raises `OSError` if that cannot be, and `ValueError` if another value would be read; then nothing is written.
    """
    from dotenv import set_key

    file = file.resolve()
    with tempfile.TemporaryDirectory(prefix=".tmp_", dir=file.parent) as folder:
        written = Path(folder) / file.name
        if file.exists():
            _copy(file, written)
        set_key(written, name, value)
        if file.exists():
            _leave_to_its_owner(file, written)
        if read_variable(written, name) != value:
            raise ValueError("cannot be written so that it is read as it is")
        written.replace(file)


def _copy(file: Path, copy: Path) -> None:
    copy.touch(mode=0o600)
    shutil.copyfile(file, copy)


def _leave_to_its_owner(file: Path, written: Path) -> None:
    wanted, found = file.stat(), written.stat()
    if (wanted.st_uid, wanted.st_gid) != (found.st_uid, found.st_gid):
        try:
            os.chown(written, wanted.st_uid, wanted.st_gid)
        except PermissionError:
            raise PermissionError(1, "it is another user's or group's, and would become this user's") from None
    shutil.copymode(file, written)
