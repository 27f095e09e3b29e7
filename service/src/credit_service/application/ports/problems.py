"""The report of a problem that only a person can end."""

from collections.abc import Callable

ReportProblem = Callable[[str | None], None]
"""Called with the problem, in plain words, and with None when it clears."""


def ignore_problem(_: str | None) -> None:
    """The `ReportProblem` of commands, which end with the fault."""
