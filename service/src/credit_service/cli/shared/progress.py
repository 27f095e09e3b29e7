"""The progress bar of commands that take long: on stderr, where that is a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Bar(Protocol):
    """A progress bar."""

    def advance(self, steps: int) -> None:
        """Moves the bar forward by so many steps."""

    def move_to(self, completed: int, *, rate: float = 0) -> None:
        """Moves the bar to a position; `rate` is shown by a bar that has one."""


@contextmanager
def progress(
    description: str, total: int | None, *, is_in_bytes: bool = False, has_rate: bool = False
) -> Iterator[Bar]:
    """Shows a bar while the block runs; without a terminal the bar does nothing. `total` is None where unknown."""
    if not sys.stderr.isatty():
        yield _NoBar()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns: list[ProgressColumn] = [TextColumn("{task.description}"), BarColumn()]
    columns.append(DownloadColumn() if is_in_bytes else MofNCompleteColumn())
    if has_rate:
        columns.append(TextColumn("{task.fields[rate]:,.0f} a second"))
    # Data for the same terminal is printed above the bar; data for a pipe must stay on stdout.
    shared = sys.stdout.isatty()
    with Progress(
        *columns,
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=shared,
        redirect_stderr=False,
    ) as display:
        yield _ShownBar(display, display.add_task(description, total=total, rate=0.0))


class _ShownBar:
    def __init__(self, display: "Progress", task: "TaskID") -> None:
        self._display = display
        self._task = task

    def advance(self, steps: int) -> None:
        self._display.advance(self._task, steps)

    def move_to(self, completed: int, *, rate: float = 0) -> None:
        self._display.update(self._task, completed=completed, rate=rate)


class _NoBar:
    def advance(self, steps: int) -> None: ...

    def move_to(self, completed: int, *, rate: float = 0) -> None: ...
