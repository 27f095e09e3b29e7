"""The SQL statements, each in a file under `sql/` of the package that uses it, or here if several packages do.

The line `-- include name` stands for the text of the part `name`, a file in a folder `parts` beside the statements.
"""

import re
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

_PACKAGE: Final = "credit_service.postgres"
_FOLDER: Final = "sql"
_PARTS: Final = "parts"
_SUFFIX: Final = ".sql"
_INCLUDE: Final = re.compile(r"^ *-- include (\w+)\n", re.MULTILINE)


@cache
def sql(name: str) -> str:
    """The text of the statement `name`, with its parts; KeyError if there is no such statement or part."""
    return _with_parts(statement_files()[name])


@cache
def statement_files() -> dict[str, Traversable]:
    """All statements by their names, which are unique."""
    return _files(_folders())


@cache
def part_files() -> dict[str, Traversable]:
    """The parts that statements share, by their names, which are unique."""
    return _files([folder / _PARTS for folder in _folders() if (folder / _PARTS).is_dir()])


def _with_parts(file: Traversable) -> str:
    return _INCLUDE.sub(lambda include: _with_parts(part_files()[include[1]]), file.read_text(encoding="utf-8"))


def _folders() -> list[Traversable]:
    package = files(_PACKAGE)
    return [one / _FOLDER for one in (package, *package.iterdir()) if one.is_dir() and (one / _FOLDER).is_dir()]


def _files(folders: list[Traversable]) -> dict[str, Traversable]:
    found = [
        (file.name.removesuffix(_SUFFIX), file)
        for folder in folders
        for file in folder.iterdir()
        if file.name.endswith(_SUFFIX)
    ]
    return dict(sorted(found, key=lambda one: one[0]))
