"""The SQL statements, each in a file of its own under `sql/`."""

from functools import cache
from importlib.resources import files


@cache
def sql(name: str) -> str:
    """The text of the statement `name`; FileNotFoundError if there is none."""
    return (files("credit_service.postgres") / "sql" / f"{name}.sql").read_text(encoding="utf-8")
