"""Replay: reads a range of the incoming topics again, and decides the messages that were never decided.

Each batch is looked up without locks first. Messages that were decided, refused or parked before are only counted. A
message without a decision or a dead letter in the ledger is decided now, by the same rules as it would have been then.
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
"""How long the ledger may be away before the replay gives up; its decisions stay."""


class Source(Protocol):
    """The range that is read again. Raises the broker's faults, and `RangeStalled` of its own."""

    @property
    def lost_to_retention(self) -> int:
        """How many messages of the range were lost to retention, as far as known."""

    def batches(self, records_max: int) -> AsyncGenerator[Sequence[Record]]:
        """The records of the range in the order of the merge, at most so many at a time."""


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """The options of a replay: one account only, at most so many messages a second, without writing anything."""

    account_id: str | None = None
    rate: int | None = None
    dry_run: bool = False

    def takes(self, record: Record) -> bool:
        """Whether the record is the account's; an unreadable one is assigned by its key."""
        if self.account_id is None:
            return True
        if isinstance(record.content, Unreadable):
            return record.key == self.account_id.encode()
        return record.content.account_id == self.account_id


@dataclass(slots=True)
class Replayed:
    """The counts so far. `read` counts all messages, `statuses` by topic those that were looked up."""

    read: int = 0
    statuses: dict[str, Counter[MessageStatus]] = field(default_factory=lambda: defaultdict(Counter))
    outcomes: Counter[str] = field(default_factory=Counter)
    dead_letters: Counter[str] = field(default_factory=Counter)
    lost_to_retention: int = 0
    seconds: float = 0.0
    is_interrupted: bool = False

    @property
    def totals(self) -> Counter[MessageStatus]:
        """The statuses of all topics together."""
        return sum(self.statuses.values(), Counter())

    @property
    def messages(self) -> int:
        """How many messages have a status."""
        return self.totals.total()

    def as_json(self) -> dict[str, Json]:
        """The counts, as they are recorded and printed."""
        return {
            "read": self.read,
            "messages": self.messages,
            "fates": _counts(self.totals),
            "outcomes": _counts(self.outcomes),
            "dead_letters": _counts(self.dead_letters),
            "eaten": self.lost_to_retention,
        }


ReportBatch = Callable[[Sequence[tuple[Record, MessageStatus]]], None]
"""Called with the messages of each batch once it is done."""

ReportProgress = Callable[[Replayed], None]
"""Called with the counts after each batch."""


class Pace:
    """Limits the messages to `rate` a second on average."""

    def __init__(self, rate: int | None, now: Callable[[], float]) -> None:
        self._rate = rate
        self._now = now
        self._free_at = now()

    def wait_seconds(self, messages: int) -> float:
        """How long these messages have to wait; they then count as passed."""
        if self._rate is None:
            return 0.0
        now = self._now()
        begin_at = max(now, self._free_at)
        self._free_at = begin_at + messages / self._rate
        return begin_at - now


class Replay:
    """Replays the records of a `Source`; `processor` must not move offsets."""

    def __init__(self, lookup: Lookup, processor: Processor, operations: OperationLog) -> None:
        self._lookup = lookup
        self._processor = processor
        self._operations = operations

    async def run(
        self,
        source: Source,
        wanted: ReplayOptions,
        person: tuple[str, str],
        arguments: Mapping[str, Json],
        ending: asyncio.Event,
        report_batch: ReportBatch,
        report_progress: ReportProgress,
        replayed: Replayed,
    ) -> None:
        """Reads the range to its end, or until `ending` is set and the current batch is done.

        `person` is the operator and the reason; these, the `arguments` and the counts are recorded as an operation. A
        dry run writes nothing at all. The counts are in `replayed`, also when it raises: `ValueError` for a text that
        cannot be kept, `LedgerUnavailable` when the ledger was away for too long, and the errors of the source. It may
        be run again after any of them.
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
        wanted: ReplayOptions,
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
                    replayed.lost_to_retention = source.lost_to_retention
                    replayed.seconds = now() - began_at
                    report_batch(list(zip(taken, statuses, strict=True)))
                    report_progress(replayed)
        replayed.is_interrupted = ending.is_set()
        replayed.lost_to_retention = source.lost_to_retention
        replayed.seconds = now() - began_at

    async def _batch(
        self, records: Sequence[Record], wanted: ReplayOptions, memory: ReplayMemory, replayed: Replayed
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
    """Whether the record has to be decided: there is no decision, no parked event and no dead letter of it.

    A record that contradicts a decision was refused when it was first read; if it never was, its letter is missing.
    """
    if status in ("unreadable", "conflict"):
        return record.place not in letters and (known is None or known.place != record.place)
    return status == "new"


def _counts(counter: Counter[Name]) -> dict[str, Json]:
    return {name: count for name, count in sorted(counter.items()) if count}


async def _until(ending: asyncio.Event, batches: AsyncGenerator[Sequence[Record]]) -> AsyncGenerator[Sequence[Record]]:
    """The batches, until `ending` is set: the pending read is then cancelled."""
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
