"""The service in memory: tests send events, read the published ones, and move the clock."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Coroutine, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from heapq import merge
from typing import Any, Literal, TypeVar

from credit_contracts.envelope import Event, Headers, encode
from credit_contracts.incoming import INCOMING, IncomingData
from credit_contracts.sequence_guard import Place as PublishedAt
from credit_contracts.topics import PARTITIONS
from credit_service import bounds
from credit_service.application.adjustments import adjustment_command
from credit_service.application.commands.execute import execute
from credit_service.application.partitioning import account_partition
from credit_service.application.processing.arrival import Arrivals, LedgerClock
from credit_service.application.processing.outgoing_record import OutgoingRecord, outgoing_record
from credit_service.application.processing.parked_expiry import ParkedExpiry
from credit_service.application.processing.processor import Processor
from credit_service.application.processing.timer_sweep import NO_TIMERS
from credit_service.application.queries import AccountSnapshot, DecidedEvent, ParkedEvent
from credit_service.application.record import Record, read_record
from credit_service.application.refunds.desk import refund_command
from credit_service.domain.command import Adjust, CommandRefusal, DecideRefund
from credit_service.domain.decision import Outcome
from credit_service.domain.event import Place, Wake
from credit_service.domain.first_plan import AGE_MONTHS_MAX
from credit_service.domain.rules import LateRefund, Rules
from credit_service.testing.memory import MemoryLedger
from credit_service.testing.message import Message
from credit_service.testing.shown import account_shown, event_shown

T = TypeVar("T")

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


class CreditService:
    """The credit service without Kafka, Postgres and event loop.

    It decides with the code of the service, and publishes the same bytes. The clock shows `now` until `move_clock`
    moves it; an event more than 5 minutes ahead of it becomes a dead letter. `late_refund`,
    `first_plan_age_months_max`, `parked_hours_max` and `topic_prefix` are the settings of these names; each topic has
    `partitions` partitions. A message's append time is the clock's time.

    Each call returns when all its consequences are decided, with the messages published by it, in order.
    """

    def __init__(
        self,
        now: datetime,
        *,
        late_refund: LateRefund | None = None,
        first_plan_age_months_max: int = AGE_MONTHS_MAX,
        parked_hours_max: int = 24,
        topic_prefix: str = "",
        partitions: int = PARTITIONS,
    ) -> None:
        self.published: list[Message] = []
        """All messages published so far, in order."""
        self._topic_prefix = topic_prefix
        self._partitions = partitions
        self._rules = Rules(late_refund or LateRefund(), first_plan_age_months_max=first_plan_age_months_max)
        self._ledger = MemoryLedger(_in_utc(now))
        self._processor = Processor(self._ledger, self._rules, moves_offsets=False)
        self._expiry = ParkedExpiry(self._ledger, timedelta(hours=parked_hours_max))
        self._offsets = Counter[tuple[str, int]]()

    @property
    def now(self) -> datetime:
        """The time of the clock."""
        return self._ledger.now

    def move_clock(self, to: datetime) -> list[Message]:
        """Moves the clock, and runs all due timers: renewals, expiries, later plans, and the end of parking.

        As in the service, a timer runs when the clock is 10 seconds past its instant, or earlier with a later event.
        Its effects are recorded at the new time, however many months have passed. Raises `ValueError` on a time before
        `now`.
        """
        to = _in_utc(to)
        if to < self.now:
            raise ValueError(f"the clock is at {self.now} and does not go back")
        self._ledger.now = to
        return self._settled()

    def send(self, *events: Event[IncomingData]) -> list[Message]:
        """Sends events encoded by `credit_contracts.encode`.

        Several events are a backlog: across topics the service decides them by time, within one topic and partition in
        the given order.
        """
        records = []
        for event in events:
            encoded = encode(event)
            records.append(self._record(event.type, encoded.value, encoded.headers, encoded.key))
        return self._take(records)

    def send_record(
        self, topic: str, value: bytes | None, *, headers: Headers = (), key: bytes | None = None
    ) -> list[Message]:
        """Sends one Kafka record, readable or not; raises `ValueError` unless the contracts have the incoming `topic`.

        The key selects the partition by murmur2; without a key it is the first.
        """
        return self._take([self._record(topic, value, headers, key)])

    def order(
        self, account_id: str, what: Adjust | DecideRefund, command_id: str
    ) -> tuple[Outcome | CommandRefusal | Literal["unknown-account"], list[Message]]:
        """Runs the command of an operator, as `credits adjust` or `credits refunds` do; returns outcome and messages.

        `command_id` names the command, and its events carry it: a repeat returns the same outcome without a second
        effect, or `conflict` if its content differs. Raises `ValueError` on an amount of 0 or out of bounds, on an
        expiry of taken credits, and on an empty or overlong text.
        """
        if isinstance(what, Adjust):
            command = adjustment_command(account_id, what, command_id)
        else:
            command = refund_command(account_id, what, command_id)
        # A command must not create an account.
        if account_id not in self._ledger.accounts:
            return "unknown-account", []
        (answer,) = _at_once(execute(self._ledger, self._rules, [command]))
        return answer.outcome, self._settled()

    def account(self, account_id: str) -> AccountSnapshot | None:
        """The account as `GET /v1/accounts/{account_id}` shows it; None if no event ever named it."""
        return account_shown(self._ledger, account_id)

    def balance(self, account_id: str) -> int | None:
        """The balance; None if unlimited. Raises `LookupError` if no event ever named the account."""
        account = self.account(account_id)
        if account is None:
            raise LookupError(f"no event ever named the account {account_id!r}")
        return account.balance

    def decision(self, account_id: str, source: str, event_id: str) -> DecidedEvent | ParkedEvent | None:
        """The decision on the event with this `ce_source` and `ce_id`, or the parked event.

        None if the event was never sent, or is a dead letter.
        """
        return event_shown(self._ledger, account_id, source, event_id)

    @property
    def dead_letters(self) -> list[Message]:
        """The published messages that are dead letters."""
        return [message for message in self.published if message.is_dead_letter]

    def _record(self, topic: str, value: bytes | None, headers: Headers, key: bytes | None) -> Record:
        if topic not in INCOMING:
            raise ValueError(f"{topic!r} is not a topic that the service reads: {', '.join(INCOMING)}")
        number = 0 if key is None else account_partition(key, self._partitions)
        name = self._topic_prefix + topic
        place = Place(name, number, self._next_offset(name, number))
        timestamp_ms = (self.now - EARLIEST) // timedelta(milliseconds=1)
        return read_record(place, topic, key, value, headers, timestamp_ms)

    def _take(self, records: Sequence[Record]) -> list[Message]:
        if records:
            clock = LedgerClock()
            clock.note(self.now)
            _at_once(self._processor.process(_merged(records, clock), asyncio.Event()))
        return self._settled()

    def _settled(self) -> list[Message]:
        """Runs the sweeps of the service until nothing is due; returns the messages published since the last call."""
        numbers = range(self._partitions)
        while _at_once(self._expiry.sweep(numbers, self._partitions)).letters_by_topic:
            pass
        before: list[tuple[object, ...]] = []
        while (wakes := self._wakes()) and (state := self._state(wakes)) != before:
            before = state
            _at_once(self._processor.wake(wakes, asyncio.Event()))
        waiting, self._ledger.outbox = self._ledger.outbox, []
        messages = [self._message(outgoing_record(row, self._partitions)) for row in waiting]
        self.published += messages
        return messages

    def _message(self, record: OutgoingRecord) -> Message:
        name, number = self._topic_prefix + record.topic, record.partition
        offset = self._next_offset(name, number)
        return Message(record.topic, PublishedAt(name, number, offset), record.key, record.value, record.headers)

    def _next_offset(self, topic: str, partition: int) -> int:
        offset = self._offsets[topic, partition]
        self._offsets[topic, partition] += 1
        return offset

    def _wakes(self) -> list[Wake]:
        due = _at_once(self._ledger.accounts_with_due_timers({}, self._partitions, bounds.ACCOUNTS_PER_SWEEP_MAX))
        waiting = _at_once(self._ledger.accounts_to_unpark(bounds.ACCOUNTS_PER_SWEEP_MAX))
        timers = [Wake(account_id, up_to, bounds.TIMERS_PER_ACCOUNT_MAX) for account_id, up_to in due]
        return timers + [Wake(account_id, NO_TIMERS, 0) for account_id in waiting]

    def _state(self, wakes: Iterable[Wake]) -> list[tuple[object, ...]]:
        """The state that a wake changes; if it changes nothing, the rules failed, and the log says so."""
        rows = [self._ledger.accounts[wake.account_id].row for wake in wakes]
        return [(row.account_id, row.next_timer_at, row.parked) for row in rows]


def _merged(records: Sequence[Record], clock: LedgerClock) -> list[Record]:
    """Merges partitions of the same number by the order of their first records; each partition keeps its order."""
    queues: dict[int, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        queues[record.place.partition][record.place.topic].append(record)
    for of_topics in queues.values():
        for queue in of_topics.values():
            Arrivals(clock).put_in_order(queue)
    return [
        record
        for number in sorted(queues)
        for record in merge(*queues[number].values(), key=lambda record: record.order)
    ]


def _at_once(does: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine that never waits, as all in memory, without an event loop; returns its result."""
    try:
        does.send(None)
    except StopIteration as ended:
        result: T = ended.value
        return result
    does.close()
    raise RuntimeError("a coroutine in memory has waited")


def _in_utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("a time needs its zone")
    return moment.astimezone(UTC)
