"""The SQL statements, each in a file of its own: under `sql/` of the package that uses it, or here if several do."""

from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

_PACKAGE: Final = "credit_service.postgres"
_FOLDER: Final = "sql"


@cache
def sql(name: str) -> str:
    """The text of the statement `name`; KeyError if there is none."""
    return statement_files()[name].read_text(encoding="utf-8")


@cache
def statement_files() -> dict[str, Traversable]:
    """All of them by their names, which are unique."""
    package = files(_PACKAGE)
    folders = [one / _FOLDER for one in (package, *package.iterdir()) if one.is_dir() and (one / _FOLDER).is_dir()]
    found = [(file.name.removesuffix(".sql"), file) for folder in folders for file in folder.iterdir()]
    return dict(sorted(found, key=lambda one: one[0]))
