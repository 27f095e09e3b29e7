"""The service's commands as processes, and events decided without a broker."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from credit_contracts import encode
from credit_service.application.processing.processor import Processor
from credit_service.application.record import read_record
from credit_service.domain.event import Place
from credit_service.domain.rules import Rules
from credit_service.postgres.ledger.ledger import PostgresLedger
from credit_service.postgres.ledger.offsets import PostgresOffsetStore
from credit_service.postgres.pool import open_pool
from support.forked import Forked

if TYPE_CHECKING:
    from credit_contracts import Event, IncomingData

CREDITS = Path(sys.executable).with_name("credits")
"""The installed script, for what only a program started from nothing shows."""

COMMAND_SECONDS_MAX = 60
COLUMNS = "120"


def environment(**settings: object) -> dict[str, str]:
    """This process's environment, with no settings of the service but those given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CREDITS_")}
    return kept | {"COLUMNS": COLUMNS} | {f"CREDITS_{name.upper()}": str(value) for name, value in settings.items()}


def run_credits(*arguments: str, folder: Path, **settings: object) -> subprocess.CompletedProcess[str]:
    """One command, run to its end in `folder`, with nothing to read on its standard input."""
    return run_credits_after("", *arguments, folder=folder, **settings)


def run_credits_after(
    first: str, /, *arguments: str, folder: Path, **settings: object
) -> subprocess.CompletedProcess[str]:
    """As `run_credits`; `first` is Python that the process executes before the command begins."""
    return _run(first, COMMAND_SECONDS_MAX, arguments, folder, settings)


def run_credits_within(
    seconds: float, first: str, /, *arguments: str, folder: Path, **settings: object
) -> subprocess.CompletedProcess[str]:
    """As `run_credits_after`, for what may take longer than commands do."""
    return _run(first, seconds, arguments, folder, settings)


def _run(
    first: str, seconds_max: float, arguments: tuple[str, ...], folder: Path, settings: dict[str, object]
) -> subprocess.CompletedProcess[str]:
    with TemporaryDirectory() as outputs:
        stdout, stderr = Path(outputs, "stdout"), Path(outputs, "stderr")
        command = Forked(
            *arguments, environment=environment(**settings), folder=folder, stdout=stdout, stderr=stderr, first=first
        )
        exit_code = command.wait_blocking(seconds_max)
        if exit_code is None:
            command.send_signal(signal.SIGKILL)
            command.wait_blocking(COMMAND_SECONDS_MAX)
            raise subprocess.TimeoutExpired(arguments, seconds_max)
        return subprocess.CompletedProcess(arguments, exit_code, stdout.read_text(), stderr.read_text())


async def decide_events(database_url: str, *events: Event[IncomingData]) -> None:
    """Takes the events through the ledger, in this order, each as the next record of its topic's partition 0."""
    async with open_pool(database_url) as pool:
        processor = Processor(PostgresLedger(pool, unparked_max=100), Rules())
        partitions = {(event.type, 0): 0 for event in events}
        store = PostgresOffsetStore(pool)
        await store.open(partitions)
        processor.positions.update(await store.load(partitions))
        offsets = {topic: count(offset) for (topic, _), offset in processor.positions.items()}
        records = []
        for event in events:
            encoded = encode(event)
            place = Place(event.type, 0, next(offsets[event.type]))
            records.append(read_record(place, event.type, encoded.key, encoded.value, encoded.headers, 0))
        await processor.process(records, asyncio.Event())
