"""Replay: a range of the incoming topics is read once more, and what never went the way of events goes it now.

Each batch is looked up without locks first. What was decided, refused or parked before is counted and left alone. What
the ledger knows nothing of, neither as a decision nor as a dead letter, is decided now: as it would have been then,
since it goes through the same rules.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from credit_contracts.envelope import Unreadable
from credit_service import bounds
from credit_service.application.errors import Abandoned, LedgerUnavailable
from credit_service.application.operations import Json, Operation, OperationLog, recorded
from credit_service.application.processing.known_events import (
    KnownKey,
    KnownLetter,
    Lookup,
    MessageStatus,
    classify_keys,
)
from credit_service.application.processing.processor import Processor
from credit_service.application.record import Record
from credit_service.application.replay.memory import ReplayMemory
from credit_service.application.retry import is_set_within, retry_within
from credit_service.domain.event import Place

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Name = TypeVar("Name", bound=str)

OPERATION = "replay"
PATIENCE_SECONDS = 60.0
"""So long the ledger may be away before the replay gives up; what it decided stays decided."""


class Source(Protocol):
    """What is read once more. Raises the broker's faults, and `RangeStalled` of its own."""

    @property
    def eaten(self) -> int:
        """How many messages of the range retention has removed, as far as that is known."""

    def batches(self, records_max: int) -> AsyncGenerator[Sequence[Record]]:
        """The records of the range in the order of the merge, never more than so many at a time."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Of what is read: of one account only, so many messages a second at most, and whether nothing is to be written."""

    account_id: str | None = None
    rate: int | None = None
    dry_run: bool = False

    def takes(self, record: Record) -> bool:
        """Whether the record is the account's; what cannot be read is so by its key."""
        if self.account_id is None:
            return True
        if isinstance(record.content, Unreadable):
            return record.key == self.account_id.encode()
        return record.content.account_id == self.account_id


@dataclass(slots=True)
class Replayed:
    """What came of it so far. `read` counts all messages, `statuses` by topic those that were looked at."""

    read: int = 0
    statuses: dict[str, Counter[MessageStatus]] = field(default_factory=lambda: defaultdict(Counter))
    outcomes: Counter[str] = field(default_factory=Counter)
    dead_letters: Counter[str] = field(default_factory=Counter)
    eaten: int = 0
    seconds: float = 0.0
    is_interrupted: bool = False

    @property
    def totals(self) -> Counter[MessageStatus]:
        """The statuses of all topics together."""
        return sum(self.statuses.values(), Counter())

    @property
    def messages(self) -> int:
        """How many were looked at."""
        return self.totals.total()

    def as_json(self) -> dict[str, Json]:
        """The counts, as they are kept and printed."""
        return {
            "read": self.read,
            "messages": self.messages,
            "fates": _counts(self.totals),
            "outcomes": _counts(self.outcomes),
            "dead_letters": _counts(self.dead_letters),
            "eaten": self.eaten,
        }


ReportBatch = Callable[[Sequence[tuple[Record, MessageStatus]]], None]
"""Hears of the messages of each batch, once it is done with."""

ReportProgress = Callable[[Replayed], None]
"""Hears after each batch how far it has come."""


class Pace:
    """Holds back so that on average no more than `rate` messages go by in a second."""

    def __init__(self, rate: int | None, now: Callable[[], float]) -> None:
        self._rate = rate
        self._now = now
        self._free_at = now()

    def wait_seconds(self, messages: int) -> float:
        """How long these messages have to wait, which are then taken to have gone by."""
        if self._rate is None:
            return 0.0
        now = self._now()
        begin_at = max(now, self._free_at)
        self._free_at = begin_at + messages / self._rate
        return begin_at - now


class Replay:
    """Reads once more what a `Source` brings; `processor` must not move offsets."""

    def __init__(self, lookup: Lookup, processor: Processor, operations: OperationLog) -> None:
        self._lookup = lookup
        self._processor = processor
        self._operations = operations

    async def run(
        self,
        source: Source,
        wanted: Wanted,
        person: tuple[str, str],
        arguments: Mapping[str, Json],
        ending: asyncio.Event,
        report_batch: ReportBatch,
        report_progress: ReportProgress,
        replayed: Replayed,
    ) -> None:
        """Goes through the range until its end, or until `ending` is set and the batch in hand is done.

        `person` is who wants it and why; that, the `arguments` and the counts are kept as an operation, but for a dry
        run, which writes nothing at all. The counts are in `replayed`, also when it raises: `ValueError` for words
        that cannot be kept, `LedgerUnavailable` when the ledger was away for too long, and what the source raises. In
        any case it may be run again.
        """
        if wanted.dry_run:
            await self._run(source, wanted, ending, report_batch, report_progress, replayed)
            return
        async with self._recorded(person, arguments, replayed):
            await self._run(source, wanted, ending, report_batch, report_progress, replayed)

    @asynccontextmanager
    async def _recorded(
        self, person: tuple[str, str], arguments: Mapping[str, Json], replayed: Replayed
    ) -> "AsyncIterator[Operation]":
        async with recorded(self._operations, OPERATION, *person, arguments) as operation:
            try:
                yield operation
            finally:
                operation.is_interrupted = replayed.is_interrupted
                operation.result.update(replayed.as_json())

    async def _run(
        self,
        source: Source,
        wanted: Wanted,
        ending: asyncio.Event,
        report_batch: ReportBatch,
        report_progress: ReportProgress,
        replayed: Replayed,
    ) -> None:
        now = asyncio.get_running_loop().time
        began_at = now()
        pace = Pace(wanted.rate, now)
        records_max = min(bounds.REPLAY_BATCH_RECORDS_MAX, wanted.rate or bounds.REPLAY_BATCH_RECORDS_MAX)
        with closing(ReplayMemory()) as memory:
            async with aclosing(_until(ending, source.batches(records_max))) as batches:
                async for batch in batches:
                    if await is_set_within(ending, pace.wait_seconds(len(batch))):
                        break
                    taken = [record for record in batch if wanted.takes(record)]
                    statuses = await self._batch(taken, wanted, memory, replayed) if taken else []
                    replayed.read += len(batch)
                    replayed.eaten = source.eaten
                    replayed.seconds = now() - began_at
                    report_batch(list(zip(taken, statuses, strict=True)))
                    report_progress(replayed)
        replayed.is_interrupted = ending.is_set()
        replayed.eaten = source.eaten
        replayed.seconds = now() - began_at

    async def _batch(
        self, records: Sequence[Record], wanted: Wanted, memory: ReplayMemory, replayed: Replayed
    ) -> list[MessageStatus]:
        looked_up, known, letters = await retry_within(PATIENCE_SECONDS, lambda: classify_keys(records, self._lookup))
        statuses: list[MessageStatus] = []
        undecided = []
        repeats = memory.repeats(records, looked_up)
        for record, status, key, repeat in zip(records, looked_up, known, repeats, strict=True):
            statuses.append(repeat or ("dead-letter" if status == "unreadable" and record.place in letters else status))
            if _is_undecided(record, status, key, letters):
                undecided.append(record)
        if undecided and not wanted.dry_run:
            await self._decide(undecided, replayed)
        for record, status in zip(records, statuses, strict=True):
            replayed.statuses[record.place.topic][status] += 1
        return statuses

    async def _decide(self, records: Sequence[Record], replayed: Replayed) -> None:
        abandon = asyncio.Event()
        given_up = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, abandon.set)
        try:
            report = await self._processor.process(records, abandon)
        except Abandoned:
            raise LedgerUnavailable(f"nothing came of a batch within {PATIENCE_SECONDS:.0f} s") from None
        finally:
            given_up.cancel()
        replayed.outcomes.update(report.outcomes)
        replayed.dead_letters.update(report.dead_letters)


def _is_undecided(
    record: Record, status: MessageStatus, known: KnownKey | None, letters: Mapping[Place, KnownLetter]
) -> bool:
    """Whether the record has to go the way of events: no decision, no parked event and no dead letter came of it.

    What contradicts a decision was refused when it came first. If it never came, its dead letter is still missing.
    """
    if status in ("unreadable", "conflict"):
        return record.place not in letters and (known is None or known.place != record.place)
    return status == "new"


def _counts(counter: Counter[Name]) -> dict[str, Json]:
    return {name: count for name, count in sorted(counter.items()) if count}


async def _until(ending: asyncio.Event, batches: AsyncGenerator[Sequence[Record]]) -> AsyncGenerator[Sequence[Record]]:
    """The batches, until `ending` is set: what is then still waited for is given up."""
    stop = asyncio.ensure_future(ending.wait())
    async with aclosing(batches):
        try:
            while not ending.is_set():
                following = asyncio.ensure_future(anext(batches, None))
                try:
                    await asyncio.wait({following, stop}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    if not following.done():
                        following.cancel()
                        await asyncio.wait({following})
                if following.cancelled():
                    return
                batch = following.result()
                if batch is None or ending.is_set():
                    return
                yield batch
        finally:
            stop.cancel()
