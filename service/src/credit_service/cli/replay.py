"""`credits replay`."""

import asyncio
import json
import signal
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from credit_service.cli.faults import Failed, WrongUse
from credit_service.cli.instants import range_of
from credit_service.cli.output import Format, Output, put, say
from credit_service.cli.person import Operator, Yes, hold_to
from credit_service.cli.run import kafka_of, ledger, run, settings_or_exit, told_of_ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from credit_service.application.operations import Json
    from credit_service.application.processing.known_events import MessageStatus
    from credit_service.application.record import Record
    from credit_service.application.replay.replay import Replayed, ReplayOptions
    from credit_service.kafka.connect.connection import KafkaConnection
    from credit_service.kafka.ranges.ranges import Bound, Range
    from credit_service.settings import Settings

EXIT_INTERRUPTED = 130
EXIT_EATEN = 1
SAFE = "it may safely be run again"
PROGRESS_SECONDS = 10.0
"""Where stderr is no terminal, a line says so often how far it has come."""


def replay(
    operator: Operator,
    topic: Annotated[
        list[str] | None,
        typer.Option("--topic", "-t", help="Only this incoming topic; may be given several times."),
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="TIME|OFFSET", help="Where to begin, by Kafka's own time.")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", metavar="TIME|OFFSET", help="Where to end, itself left out.")
    ] = None,
    account_id: Annotated[str | None, typer.Option("--account", help="Only messages of this account.")] = None,
    rate: Annotated[int | None, typer.Option(min=1, help="Messages a second, at most.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look everything up and write nothing at all.")] = False,
    each: Annotated[
        bool, typer.Option("--each", help="A line of JSON for each message that is no plain duplicate.")
    ] = False,
    reason: Annotated[
        str | None, typer.Option("--reason", help="Why; kept for good. Not needed for a dry run.")
    ] = None,
    yes: Yes = False,
    output: Output = Format.TEXT,
) -> int:
    """Read a range of the incoming topics again, and decide what was never decided.

    What was decided before has no second effect, so any range may be replayed at any time, also while the service
    runs. Never reads past what the service has read. Without a range, everything there is. What was refused before is
    left to [cyan]credits dead-letters[/]. The exit code is 1 if messages that were asked for are gone.

    Example: [cyan]credits replay --from 2026-03-01T00:00:00Z --to 2026-03-02T00:00:00Z --dry-run[/]

    Example: [cyan]credits replay --topic email-bounced --from 0 --reason "after the restore" --yes[/]
    """
    settings = settings_or_exit()
    begin, until = range_of(start, end)
    if not dry_run:
        _hold_to_bounds(operator, reason)
    kafka = kafka_of(settings)
    topics = _topics(kafka, topic)
    ranges = run(_ranges(settings, topics, begin, until))
    _show(kafka, ranges, begin, until, account_id)
    if not dry_run:
        hold_to("Replay this?", yes=yes)
    from credit_service.application.replay.replay import Replayed, ReplayOptions

    replayed = Replayed()
    arguments: dict[str, Json] = {
        "topics": [kafka.event_type(name) for name in topics],
        "from": start,
        "to": end,
        "account": account_id,
        "rate": rate,
    }
    told = _Told(kafka, output, is_each=each, dry_run=dry_run)
    run(
        _replay(
            settings,
            ranges,
            ReplayOptions(account_id, rate, dry_run),
            (operator, reason or ""),
            arguments,
            told,
            replayed,
        )
    )
    if account_id is not None and not replayed.messages and not run(_is_known(settings, account_id)):
        raise WrongUse(f"there is no account {account_id!r}, and no message of it in this range")
    told.sum_up(replayed)
    if replayed.is_interrupted:
        say(f"Interrupted; {SAFE}.")
        return EXIT_INTERRUPTED
    was_asked_for = sum(one.eaten for one in ranges) if isinstance(begin, int) else 0
    return EXIT_EATEN if replayed.eaten or was_asked_for else 0


def _hold_to_bounds(operator: str, reason: str | None) -> None:
    """What is kept has to be there, and short enough to be kept."""
    from credit_service.application.text_limits import OPERATOR_CHARACTERS_MAX, REASON_CHARACTERS_MAX, require_text

    if reason is None:
        raise WrongUse("--reason: needed, and kept; only a --dry-run goes without")
    try:
        require_text("operator", operator, OPERATOR_CHARACTERS_MAX)
        require_text("reason", reason, REASON_CHARACTERS_MAX)
    except ValueError as error:
        raise WrongUse(f"--{error}") from None


def _topics(kafka: "KafkaConnection", given: list[str] | None) -> list[str]:
    from credit_contracts.topics import INCOMING_TOPICS

    names = dict.fromkeys(kafka.event_type(name) for name in given or INCOMING_TOPICS)
    for name in names:
        if name not in INCOMING_TOPICS:
            raise WrongUse(f"{name} is no incoming topic: one of {', '.join(INCOMING_TOPICS)}")
    return [kafka.topic(name) for name in names]


async def _ranges(settings: "Settings", topics: list[str], begin: "Bound", until: "Bound") -> "list[Range]":
    from credit_service.kafka.access.topic_ids import of_topics_gone
    from credit_service.kafka.ranges.ranges import TopicsUnknown
    from credit_service.kafka.ranges.replay_source import replay_ranges
    from credit_service.kafka.topics import partition_counts
    from credit_service.postgres.ledger.offsets import PostgresOffsetStore

    kafka = kafka_of(settings)
    async with ledger(settings) as pool:
        counts = await partition_counts(kafka, topics, "read")
        partitions = [(t, at) for t in topics for at in range(counts.get(t, 0))]
        offsets = PostgresOffsetStore(pool)
        stored = await offsets.load(partitions)
        skipped = await offsets.skipped(topics)
        for gone in await of_topics_gone(kafka, offsets, partitions):
            stored.pop(gone, None)
    try:
        return await replay_ranges(kafka, topics, begin, until, stored, skipped)
    except TopicsUnknown as error:
        raise Failed(f"topics are missing: {error}; run `credits topics create`") from None


def _show(
    kafka: "KafkaConnection", ranges: "Sequence[Range]", begin: "Bound", until: "Bound", account_id: str | None
) -> None:
    """What there is to be read, before anything is."""
    count = sum(len(one) for one in ranges)
    topics = len({one.topic for one in ranges if len(one)})
    since = "the beginning" if begin is None else _bound(begin)
    up_to = "where the service has read" if until is None else _bound(until)
    of = "" if account_id is None else f", for those of {account_id}"
    say(f"{count:,} messages of {topics} topic{'' if topics == 1 else 's'}, from {since} to {up_to}{of}")
    for one in ranges:
        if one.eaten:
            say(f"{kafka.event_type(one.topic)}/{one.number}: {one.eaten:,} before {one.first} are gone from Kafka")
        elif one.begins_the_log and begin is not None:
            say(f"{kafka.event_type(one.topic)}/{one.number}: nothing before {one.first} is left in Kafka")


def _bound(bound: "Bound") -> str:
    return f"offset {bound}" if isinstance(bound, int) else f"{bound:%Y-%m-%d %H:%M:%S} UTC"


async def _is_known(settings: "Settings", account_id: str) -> bool:
    from credit_service.postgres.reads.queries import PostgresReads

    async with ledger(settings) as pool:
        return await PostgresReads(pool).account(account_id) is not None


async def _replay(
    settings: "Settings",
    ranges: "Sequence[Range]",
    wanted: "ReplayOptions",
    person: tuple[str, str],
    arguments: "dict[str, Json]",
    told: "_Told",
    replayed: "Replayed",
) -> None:
    from aiokafka.errors import KafkaError

    from credit_service.application.errors import LedgerUnavailable
    from credit_service.application.processing.processor import Processor
    from credit_service.application.replay.replay import Replay
    from credit_service.application.temporary_files import NoTemporaryRoom
    from credit_service.bootstrap import collect_seldom
    from credit_service.kafka.ranges.ranges import RangeStalled
    from credit_service.kafka.ranges.replay_source import open_records
    from credit_service.postgres.ledger.ledger import PostgresLedger
    from credit_service.postgres.operator.operations import PostgresOperationLog
    from credit_service.postgres.reads.lookup import PostgresLookup
    from credit_service.runtime.failpoints import failpoint
    from credit_service.runtime.logging import configure_logging

    # What is retried or refused is counted; its log lines would come between the data.
    configure_logging(settings.log_format, "error")
    collect_seldom()
    rules = settings.rules
    ending = _ending()
    try:
        async with ledger(settings) as pool, open_records(kafka_of(settings), ranges) as source:
            into = PostgresLedger(
                pool,
                unparked_max=rules.unparked_max,
                topic_prefix=settings.topic_prefix,
                letter_bytes_per_day=settings.dead_letter_bytes_per_day,
            )
            processor = Processor(into, rules, failpoint(settings.kill_at), moves_offsets=False)
            again = Replay(PostgresLookup(pool, settings.topic_prefix), processor, PostgresOperationLog(pool))
            with _progress(sum(len(one) for one in ranges)) as moved:
                await again.run(source, wanted, person, arguments, ending, told.batch, moved, replayed)
    except (RangeStalled, NoTemporaryRoom) as error:
        raise Failed(f"{error}; {_stopped(replayed)}") from None
    except (KafkaError, TimeoutError) as error:
        raise Failed(f"Kafka does not answer: {error or type(error).__name__}; {_stopped(replayed)}") from None
    except LedgerUnavailable as error:
        raise Failed(f"{told_of_ledger(error)}; {_stopped(replayed)}") from None


def _stopped(replayed: "Replayed") -> str:
    return f"stopped after {replayed.read:,} messages, and {SAFE}"


def _ending() -> asyncio.Event:
    """Set by Ctrl-C; the second one ends at once."""
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end() -> None:
        ending.set()
        loop.remove_signal_handler(signal.SIGINT)

    loop.add_signal_handler(signal.SIGINT, end)
    return ending


class _Told:
    """Prints what became of the messages, and what it all came to."""

    def __init__(self, kafka: "KafkaConnection", output: Format, *, is_each: bool, dry_run: bool) -> None:
        self._kafka = kafka
        self._output = output
        self._is_each = is_each
        self._dry_run = dry_run

    def batch(self, done: "Sequence[tuple[Record, MessageStatus]]") -> None:
        """A line for each message that is no plain duplicate, if that is wanted."""
        if not self._is_each:
            return
        lines = [json.dumps(_each(record, fate)) for record, fate in done if fate != "duplicate"]
        if lines:
            put("\n".join(lines))

    def sum_up(self, replayed: "Replayed") -> None:
        """The summary: a table, or the last line of JSON."""
        seconds = max(replayed.seconds, 0.001)
        if self._output is Format.JSON:
            topics = {
                self._kafka.event_type(topic): dict(sorted(fates.items()))
                for topic, fates in sorted(replayed.statuses.items())
            }
            summary = {"dry_run": self._dry_run, "interrupted": replayed.is_interrupted} | replayed.as_json()
            speed = {"seconds": round(replayed.seconds, 3), "rate": round(replayed.read / seconds)}
            put(json.dumps(summary | {"topics": topics} | speed))
            return
        if replayed.statuses:
            self._table(replayed)
        if self._dry_run:
            put("Nothing was written.")
        for what, counts in (("Decided", replayed.outcomes), ("Dead letters", replayed.dead_letters)):
            if told := ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()) if count):
                put(f"{what}: {told}")
        if replayed.eaten:
            put(f"Gone from Kafka while this ran: {replayed.eaten:,} messages")
        put(f"{replayed.read:,} messages read in {replayed.seconds:.1f} s, {replayed.read / seconds:,.0f} a second")

    def _table(self, replayed: "Replayed") -> None:
        from rich.console import Console
        from rich.table import Table

        totals = replayed.totals
        names = [fate for fate in totals if totals[fate]]
        table = Table()
        table.add_column("Topic")
        for name in ("messages", *names):
            table.add_column(name.capitalize(), justify="right")
        rows = [(self._kafka.event_type(topic), fates) for topic, fates in sorted(replayed.statuses.items())]
        for topic, fates in [*rows, ("all", totals)]:
            table.add_row(topic, f"{fates.total():,}", *(f"{fates[name]:,}" for name in names))
        Console(highlight=False, markup=False).print(table)


def _each(record: "Record", fate: "MessageStatus") -> dict[str, object]:
    from credit_contracts.envelope import Unreadable

    event = None if isinstance(record.content, Unreadable) else record.content
    return {
        "topic": record.place.topic,
        "partition": record.place.partition,
        "offset": record.place.offset,
        "account_id": event and event.account_id,
        "source": event and event.source,
        "id": event and event.id,
        "fate": fate,
    }


@contextmanager
def _progress(total: int) -> "Iterator[Callable[[Replayed], None]]":
    """How far it has come, on stderr: a bar on a terminal, else a line now and then."""
    if not sys.stderr.isatty():
        yield _Lines(total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:,.0f} a second"),
        TimeRemainingColumn(),
    )
    # Lines for the same terminal go above the bar; those for a pipe must stay on stdout.
    shared = sys.stdout.isatty()
    with Progress(
        *columns, console=Console(stderr=True), transient=True, redirect_stdout=shared, redirect_stderr=False
    ) as bar:
        task = bar.add_task("Messages replayed", total=total, rate=0.0)
        yield lambda so_far: bar.update(task, completed=so_far.read, rate=so_far.read / max(so_far.seconds, 0.001))


class _Lines:
    """A line every few seconds."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._next = time.monotonic() + PROGRESS_SECONDS

    def __call__(self, so_far: "Replayed") -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + PROGRESS_SECONDS
        rate = so_far.read / max(so_far.seconds, 0.001)
        left = (self._total - so_far.read) / max(rate, 0.001)
        say(f"{so_far.read:,} of {self._total:,} messages, {rate:,.0f} a second, {max(0, left):,.0f} s left")
