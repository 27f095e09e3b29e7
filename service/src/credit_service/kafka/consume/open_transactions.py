"""Transactions that producers leave open: records behind one cannot be read before it ends."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import structlog

from credit_service.application.ports import TopicPartition
from credit_service.application.readiness import Status

log = structlog.get_logger(__name__)

HANGING_SECONDS = 10.0
"""The transaction of a producer that is well ends sooner."""
NAMED_MAX = 5


class Ends(NamedTuple):
    """Where a partition ends: for a `read_committed` consumer, and with open transactions."""

    stable: int
    written: int

    @property
    def is_open(self) -> bool:
        """Whether a transaction is open in it."""
        return self.stable < self.written


class BehindTransaction(NamedTuple):
    """The offsets behind an open transaction, and for how long it has been open."""

    messages: int
    seconds: float


@dataclass(slots=True)
class _Open:
    """A partition with open transactions, of which the first begins at `ends.stable`.

    `open_since` and `first_since`, that of the first one, are of the monotonic clock; `began` is that for people.
    """

    ends: Ends
    open_since: float
    first_since: float
    began: datetime
    is_hanging: bool = False


class OpenTransactions:
    """Notes for how long transactions have been open in each partition, and names in `status` those that stay open."""

    def __init__(self, status: Status) -> None:
        self._status = status
        self._open: dict[TopicPartition, _Open] = {}

    def look(self, ends_now: Mapping[TopicPartition, Ends | None]) -> None:
        """Notes where partitions end now; None, which is unknown, changes nothing."""
        now = time.monotonic()
        for partition, ends in ends_now.items():
            if ends is None:
                continue
            known = self._open.get(partition)
            if known is not None and ends.stable != known.ends.stable:
                _log_ended(partition, known)
            if not ends.is_open:
                self._open.pop(partition, None)
            elif known is None:
                self._open[partition] = _Open(ends, now, now, datetime.now(UTC))
            else:
                self._update(partition, known, ends, now)
        self._report()

    def _update(self, partition: TopicPartition, known: _Open, ends: Ends, now: float) -> None:
        if ends.stable != known.ends.stable:
            known.is_hanging, known.first_since, known.began = False, now, datetime.now(UTC)
        known.ends = ends
        if not known.is_hanging and now - known.first_since >= HANGING_SECONDS:
            known.is_hanging = True
            log.error(
                "a transaction stays open, messages behind it cannot be read",
                topic=partition[0],
                partition=partition[1],
                offset=ends.stable,
                messages=ends.written - ends.stable,
            )

    def forget(self, partition: TopicPartition) -> None:
        """Forgets a partition that this member does not read any more."""
        if (known := self._open.pop(partition, None)) is not None and known.is_hanging:
            self._report()

    def hanging(self) -> set[TopicPartition]:
        """The partitions in which one transaction stays open."""
        return {partition for partition, known in self._open.items() if known.is_hanging}

    def not_waited_for(self) -> set[TopicPartition]:
        """Those with transactions open for so long that the records that can be read count as all there are.

        The end of a short transaction is waited for. Where each begins before the last one ends, there is no moment
        without any to wait for.
        """
        now = time.monotonic()
        return {partition for partition, known in self._open.items() if now - known.open_since >= HANGING_SECONDS}

    def behind(self, partition: TopicPartition) -> BehindTransaction | None:
        """The messages behind a transaction that stays open."""
        known = self._open.get(partition)
        if known is None or not known.is_hanging:
            return None
        return BehindTransaction(known.ends.written - known.ends.stable, time.monotonic() - known.first_since)

    def _report(self) -> None:
        named = sorted(
            f"{topic}/{at} from offset {known.ends.stable} on,"
            f" {known.ends.written - known.ends.stable} messages since {known.began:%Y-%m-%dT%H:%M:%SZ}"
            for (topic, at), known in self._open.items()
            if known.is_hanging
        )
        more = f" and {len(named) - NAMED_MAX} more" if len(named) > NAMED_MAX else ""
        listed = "; ".join(named[:NAMED_MAX]) + more
        problem = f"transactions stay open, and messages behind them cannot be read: {listed}"
        self._status.degrade("pinned", problem if named else None)


def _log_ended(partition: TopicPartition, known: _Open) -> None:
    if known.is_hanging:
        log.info("the transaction has ended", topic=partition[0], partition=partition[1], offset=known.ends.stable)
