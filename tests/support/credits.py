"""The service's commands as processes, and events decided without a broker."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from credit_contracts import encode
from credit_service.application.process import Processor
from credit_service.application.record import read_record
from credit_service.domain.decide import Rules
from credit_service.domain.decision import Place
from credit_service.postgres.ledger import PostgresLedger
from credit_service.postgres.offsets import PostgresOffsetStore
from credit_service.postgres.pool import open_pool

if TYPE_CHECKING:
    from credit_contracts import Event, IncomingData

CREDITS = Path(sys.executable).with_name("credits")
COMMAND_SECONDS_MAX = 60
COLUMNS = "120"


def environment(**settings: object) -> dict[str, str]:
    """This process's environment, with no settings of the service but those given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CREDITS_")}
    return kept | {"COLUMNS": COLUMNS} | {f"CREDITS_{name.upper()}": str(value) for name, value in settings.items()}


def run_credits(*arguments: str, folder: Path, **settings: object) -> subprocess.CompletedProcess[str]:
    """One command, run to its end in `folder`."""
    return subprocess.run(
        [CREDITS, *arguments],
        env=environment(**settings),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS_MAX,
        check=False,
    )


async def decide_events(database_url: str, *events: Event[IncomingData]) -> None:
    """Takes the events through the ledger, in this order, each as the next record of its topic's partition 0."""
    offsets = count()
    records = []
    for event in events:
        encoded = encode(event)
        place = Place(event.type, 0, next(offsets))
        records.append(read_record(place, event.type, encoded.key, encoded.value, encoded.headers, 0))
    async with open_pool(database_url) as pool:
        processor = Processor(PostgresLedger(pool, unparked_max=100), Rules())
        partitions = {(event.type, 0): 0 for event in events}
        store = PostgresOffsetStore(pool)
        await store.open(partitions)
        processor.positions.update(await store.load(partitions))
        await processor.process(records, asyncio.Event())
