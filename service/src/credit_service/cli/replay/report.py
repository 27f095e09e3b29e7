"""Prints what became of the replayed messages, and how far a replay is."""

import json
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from credit_service.cli.shared.output import Format, put, say
from credit_service.cli.shared.progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from credit_service.application.processing.known_events import MessageStatus
    from credit_service.application.record import Record
    from credit_service.application.replay.replay import Replayed
    from credit_service.kafka.connect.connection import KafkaConnection

PROGRESS_SECONDS = 10.0
"""The interval of progress lines, where stderr is no terminal."""


class ReplayReport:
    """Prints what became of the messages, and a summary."""

    def __init__(self, kafka: "KafkaConnection", output: Format, *, is_each: bool, dry_run: bool) -> None:
        self._kafka = kafka
        self._output = output
        self._is_each = is_each
        self._dry_run = dry_run

    def batch(self, done: "Sequence[tuple[Record, MessageStatus]]") -> None:
        """Prints a line for each message that is no plain duplicate, if the lines are requested."""
        if not self._is_each:
            return
        lines = [json.dumps(_each(record, fate)) for record, fate in done if fate != "duplicate"]
        if lines:
            put("\n".join(lines))

    def sum_up(self, replayed: "Replayed") -> None:
        """Prints the summary: a table, or the last line of JSON."""
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
        for title, counts in (("Decided", replayed.outcomes), ("Dead letters", replayed.dead_letters)):
            if numbers := ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()) if count):
                put(f"{title}: {numbers}")
        if replayed.lost_to_retention:
            put(f"Gone from Kafka while this ran: {replayed.lost_to_retention:,} messages")
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
def replay_progress(total: int) -> "Iterator[Callable[[Replayed], None]]":
    """Shows how far the replay is, on stderr: a bar on a terminal, else a line now and then."""
    if not sys.stderr.isatty():
        yield _Lines(total)
        return
    with progress("Messages replayed", total, has_rate=True) as bar:
        yield lambda so_far: bar.move_to(so_far.read, rate=so_far.read / max(so_far.seconds, 0.001))


class _Lines:
    """Prints a line every few seconds."""

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
