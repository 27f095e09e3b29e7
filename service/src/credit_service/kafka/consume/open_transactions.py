"""Transactions that others leave open: what lies behind one cannot be read before it ends."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import structlog

from credit_service.application.ports import TopicPartition
from credit_service.application.readiness import Status

log = structlog.get_logger(__name__)

PINNED_SECONDS = 10.0
"""A transaction of one that is well ends sooner."""
NAMED_MAX = 5


class Ends(NamedTuple):
    """Where a partition ends: for those who read what is committed, and as it was written."""

    stable: int
    written: int

    @property
    def is_open(self) -> bool:
        """Whether a transaction is open in it."""
        return self.stable < self.written


class Hidden(NamedTuple):
    """So many offsets lie behind a transaction that is open, for so many seconds."""

    messages: int
    seconds: float


@dataclass(slots=True)
class _Open:
    """One partition with open transactions, the first of them at `ends.stable`; times are of the monotonic clock."""

    ends: Ends
    open_since: float
    stands_since: float
    began: datetime
    is_pinned: bool = False


class OpenTransactions:
    """Knows of each partition for how long transactions have been open in it, and says in `status` where one stays."""

    def __init__(self, status: Status) -> None:
        self._status = status
        self._open: dict[TopicPartition, _Open] = {}

    def look(self, told: Mapping[TopicPartition, Ends | None]) -> None:
        """Notes where partitions end now; of those that were not heard of, what was known stands."""
        now = time.monotonic()
        for partition, ends in told.items():
            if ends is None:
                continue
            known = self._open.get(partition)
            if known is not None and ends.stable != known.ends.stable:
                _say_ended(partition, known)
            if not ends.is_open:
                self._open.pop(partition, None)
            elif known is None:
                self._open[partition] = _Open(ends, now, now, datetime.now(UTC))
            else:
                self._go_on(partition, known, ends, now)
        self._tell()

    def _go_on(self, partition: TopicPartition, known: _Open, ends: Ends, now: float) -> None:
        if ends.stable != known.ends.stable:
            known.is_pinned, known.stands_since, known.began = False, now, datetime.now(UTC)
        known.ends = ends
        if not known.is_pinned and now - known.stands_since >= PINNED_SECONDS:
            known.is_pinned = True
            log.error(
                "a transaction stays open, nothing behind it can be read",
                topic=partition[0],
                partition=partition[1],
                offset=ends.stable,
                messages=ends.written - ends.stable,
            )

    def forget(self, partition: TopicPartition) -> None:
        """Forgets a partition that is not this member's any more, or is not read."""
        if (known := self._open.pop(partition, None)) is not None and known.is_pinned:
            self._tell()

    def pinned(self) -> set[TopicPartition]:
        """The partitions in which one transaction stays open."""
        return {partition for partition, known in self._open.items() if known.is_pinned}

    def not_waited_for(self) -> set[TopicPartition]:
        """Those that have had some transaction open for so long that what can be read counts as all there is.

        Of a transaction that is short the end is waited for. Where each begins before the last one ends, nobody could
        wait for a moment with none.
        """
        now = time.monotonic()
        return {partition for partition, known in self._open.items() if now - known.open_since >= PINNED_SECONDS}

    def hidden(self, partition: TopicPartition) -> Hidden | None:
        """What lies behind a transaction that stays open."""
        known = self._open.get(partition)
        if known is None or not known.is_pinned:
            return None
        return Hidden(known.ends.written - known.ends.stable, time.monotonic() - known.stands_since)

    def _tell(self) -> None:
        named = sorted(
            f"{topic}/{at} from offset {known.ends.stable} on,"
            f" {known.ends.written - known.ends.stable} messages since {known.began:%Y-%m-%dT%H:%M:%SZ}"
            for (topic, at), known in self._open.items()
            if known.is_pinned
        )
        more = f" and {len(named) - NAMED_MAX} more" if len(named) > NAMED_MAX else ""
        listed = "; ".join(named[:NAMED_MAX]) + more
        told = f"transactions stay open, and what lies behind them cannot be read: {listed}"
        self._status.degrade("pinned", told if named else None)


def _say_ended(partition: TopicPartition, known: _Open) -> None:
    if known.is_pinned:
        log.info("the transaction has ended", topic=partition[0], partition=partition[1], offset=known.ends.stable)
