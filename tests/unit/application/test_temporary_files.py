"""Temporary files without room for them."""

from __future__ import annotations

import resource
import sqlite3
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

import pytest

from credit_contracts import Event, ProspectGenerated, encode
from credit_service.application.opening.trial import TrialMemory
from credit_service.application.record import Record, read_record
from credit_service.application.replay.memory import ReplayMemory
from credit_service.application.temporary_files import NoTemporaryRoom, temporary_room
from credit_service.domain.command import Command, OpenProspect
from credit_service.domain.event import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T")

# With so many rows SQLite no longer keeps all in memory.
BATCHES = 20
BATCH = 500
AT = datetime(2026, 1, 1, tzinfo=UTC)


@contextmanager
def no_room() -> Iterator[None]:
    """A full disk, by a limit on the size of this process's files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def record(number: int) -> Record:
    encoded = encode(
        Event("/s", f"i{number}", "prospect-generated", AT, ProspectGenerated(account_id="a", prospect_id="p"))
    )
    return read_record(
        Place("prospect-generated", 0, number), "prospect-generated", encoded.key, encoded.value, encoded.headers, 0
    )


def in_batches(all_of_them: Sequence[T], note: Callable[[Sequence[T]], object]) -> None:
    for begin in range(0, len(all_of_them), BATCH):
        note(all_of_them[begin : begin + BATCH])


def test_a_replay_says_that_there_is_no_room() -> None:
    records = [record(number) for number in range(BATCHES * BATCH)]

    with closing(ReplayMemory()) as memory, no_room(), pytest.raises(NoTemporaryRoom, match="TMPDIR"):
        in_batches(records, lambda batch: memory.repeats(batch, ["new"] * len(batch)))


def test_a_dry_run_of_an_opening_says_that_there_is_no_room() -> None:
    opened = OpenProspect("p", "imported")
    commands = [Command("acme", str(n).encode(), bytes(32), "", "opening", opened) for n in range(BATCHES * BATCH)]

    with closing(TrialMemory()) as memory, no_room(), pytest.raises(NoTemporaryRoom, match="TMPDIR"):
        in_batches(commands, memory.note)


def test_what_is_no_want_of_room_stays_a_defect() -> None:
    with (
        closing(sqlite3.connect("")) as database,
        pytest.raises(sqlite3.OperationalError, match="no such table"),
        temporary_room(),
    ):
        database.execute("SELECT 1 FROM nowhere")
