"""The application's `Ledger` in memory: it loads copies, and applies writes when a transaction ends."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256

from credit_contracts.dead_letters import PUBLISHED_KEY_BYTES_MAX, PUBLISHED_VALUE_BYTES_MAX
from credit_contracts.topics import DEAD_LETTER_TOPIC
from credit_service.application.kept_record import headers_as_json
from credit_service.application.partitioning import account_partition
from credit_service.application.ports import DeadLetter, TopicPartition, ToStore, WaitingDeadLetter, WaitingEvent
from credit_service.application.processing.outgoing_record import published_headers
from credit_service.application.processing.timer_sweep import TIMER_GRACE
from credit_service.domain.account import Account
from credit_service.domain.command import Command, DecideRefund
from credit_service.domain.decided import Decided
from credit_service.domain.decision import Decision, RefundRequest
from credit_service.domain.event import Incoming, Place, Wake
from credit_service.domain.prospect import Prospect
from credit_service.domain.unstored import Unstored


@dataclass(frozen=True, slots=True)
class ParkedInMemory:
    """A parked event, and since when it is parked."""

    incoming: Incoming
    parked_at: datetime


@dataclass(slots=True)
class AccountInMemory:
    """All data of one account; `row` has whatever the other fields do not."""

    row: Account
    decisions: dict[bytes, Decision] = field(default_factory=dict)
    prospects: dict[str, Prospect] = field(default_factory=dict)
    purchases: set[str] = field(default_factory=set)
    requests: dict[int, RefundRequest] = field(default_factory=dict)
    parked: dict[bytes, ParkedInMemory] = field(default_factory=dict)

    def load(self, items: Sequence[Incoming | Command]) -> Account:
        """Loads a copy, with the prospects and decisions that `items` and the parked events need."""
        row = self.row
        waiting = [parked.incoming for parked in self.parked.values()]
        needed = [*items, *waiting]
        decided = {item.key: self.decisions[item.key] for item in needed if item.key in self.decisions}
        prospects = self._prospects_of(needed)
        return replace(
            _bare(row),
            pending=list(row.pending),
            grants={number: replace(grant) for number, grant in row.grants.items()},
            prospects=prospects,
            stored_prospects=set(prospects),
            purchases=set(self.purchases),
            requests=dict(self.requests),
            decided={key: decision.content for key, decision in decided.items()},
            outcomes={key: decision.outcome for key, decision in decided.items()},
            parked_keys={key: parked.incoming.content for key, parked in self.parked.items()},
            waiting=waiting,
        )

    def _prospects_of(self, items: Sequence[Incoming | Command]) -> dict[str, Prospect]:
        names = {getattr(item.data, "prospect_id", None) for item in items}
        for item in items:
            if isinstance(item.data, DecideRefund) and item.data.charge_sequence in self.requests:
                names.add(self.requests[item.data.charge_sequence].prospect_id)
        return {name: _copied(self.prospects[name]) for name in names if name in self.prospects}

    def store(self, account: Account) -> None:
        """Stores the parts that the account names as touched or new."""
        self.prospects.update({name: account.prospects[name] for name in account.unstored.changed_prospects})
        self.purchases.update(account.unstored.new_purchases)
        self.row = _bare(account)


def _bare(account: Account) -> Account:
    """The account without what belongs to one batch."""
    return replace(
        account,
        prospects={},
        stored_prospects=set(),
        purchases=set(),
        requests={},
        outcomes={},
        decided={},
        parked_keys={},
        waiting=[],
        waiting_until=None,
        unstored=Unstored(),
    )


def _copied(prospect: Prospect) -> Prospect:
    charges = [replace(charge) for charge in prospect.charges]
    return replace(prospect, history=list(prospect.history), charges=charges)


@dataclass(slots=True)
class MemoryLedger:
    """The ledger at the time `now`, which tests move; `outbox` holds the outgoing events."""

    now: datetime
    accounts: dict[str, AccountInMemory] = field(default_factory=dict)
    outbox: list[WaitingEvent | WaitingDeadLetter] = field(default_factory=list)

    @asynccontextmanager
    async def transaction(self, *, keep: bool = True) -> AsyncIterator["MemoryTransaction"]:
        """See `application.ports.Ledger`."""
        transaction = MemoryTransaction(self)
        yield transaction
        for write in transaction.writes if keep else ():
            write()

    async def accounts_behind(
        self,
        account_ids: Collection[str],  # noqa: ARG002 - all events are read
        fresh: timedelta,  # noqa: ARG002
    ) -> dict[str, datetime]:
        """See `application.ports.Ledger`."""
        return {}

    async def accounts_with_due_timers(
        self,
        passed_at: Mapping[int, datetime | None],  # noqa: ARG002 - all events are read, so the clock alone counts
        partitions: int,  # noqa: ARG002
        limit: int,
    ) -> list[tuple[str, datetime]]:
        """See `application.ports.Ledger`."""
        up_to = self.now - TIMER_GRACE
        rows = [kept.row for kept in self.accounts.values()]
        due = [
            (row.next_timer_at, row.account_id)
            for row in rows
            if row.next_timer_at and row.next_timer_at <= up_to and not row.opening_since
        ]
        return [(account_id, up_to) for _, account_id in sorted(due)[:limit]]

    async def accounts_to_unpark(self, limit: int) -> list[str]:
        """See `application.ports.Ledger`."""
        return [name for name, kept in self.accounts.items() if kept.row.can_unpark][:limit]

    def write(self, what: ToStore) -> None:
        """Applies the writes of one transaction."""
        for account in what.accounts.values():
            self.accounts.setdefault(account.account_id, AccountInMemory(account)).store(account)
        self._write_decided(what.decided, what.now)
        self.outbox += what.outbox
        letters = sorted(what.dead_letters, key=lambda letter: letter.record.place)
        self.outbox += [_waiting_letter(letter, what.now) for letter in letters]

    def _write_decided(self, decided: Decided, now: datetime) -> None:
        for decision in decided.decisions:
            self.accounts[decision.account_id].decisions[decision.key] = decision
        for incoming in decided.parked:
            self.accounts[incoming.account_id].parked[incoming.key] = ParkedInMemory(incoming, now)
        for incoming in decided.unparked:
            del self.accounts[incoming.account_id].parked[incoming.key]
        for request in decided.requests:
            self.accounts[request.account_id].requests[request.charge_sequence] = request
        for account_id, charge_sequence in decided.requests_overtaken:
            requests = self.accounts[account_id].requests
            if requests[charge_sequence].status == "waiting":
                requests[charge_sequence] = replace(requests[charge_sequence], status="overtaken")
        for one in decided.decided_requests:
            requests = self.accounts[one.account_id].requests
            requests[one.charge_sequence] = replace(requests[one.charge_sequence], status=one.status)


class MemoryTransaction:
    """The application's `LedgerTransaction`; its writes are applied at its end."""

    def __init__(self, ledger: MemoryLedger) -> None:
        self.writes: list[Callable[[], None]] = []
        self._ledger = ledger

    async def lock_offsets(self, expected: Mapping[TopicPartition, int]) -> None:
        """See `application.ports.LedgerTransaction`; there is no other member."""

    async def lock_and_load(self, inputs: Sequence[Incoming | Wake | Command]) -> dict[str, Account]:
        """See `application.ports.LedgerTransaction`."""
        accounts = {}
        for name in dict.fromkeys(item.account_id for item in inputs):
            kept = self._ledger.accounts.get(name) or AccountInMemory(Account(name))
            accounts[name] = kept.load([i for i in inputs if not isinstance(i, Wake) and i.account_id == name])
        return accounts

    async def now(self) -> datetime:
        """See `application.ports.LedgerTransaction`."""
        return self._ledger.now

    async def take_expired(
        self, waiting_max: timedelta, numbers: Collection[int], partitions: int, limit: int
    ) -> list[Incoming]:
        """See `application.ports.LedgerTransaction`."""
        before = self._ledger.now - waiting_max
        expired = [
            parked.incoming
            for name, kept in self._ledger.accounts.items()
            for parked in kept.parked.values()
            if parked.parked_at < before
            and not kept.row.has_started
            and account_partition(name.encode(), partitions) in numbers
        ][:limit]
        self.writes.append(lambda: self._take_out(expired))
        return expired

    def _take_out(self, expired: Sequence[Incoming]) -> None:
        for incoming in expired:
            kept = self._ledger.accounts[incoming.account_id]
            del kept.parked[incoming.key]
            kept.row.parked -= 1

    async def store(self, what: ToStore) -> None:
        """See `application.ports.LedgerTransaction`."""
        self.writes.append(lambda: self._ledger.write(what))


def _waiting_letter(letter: DeadLetter, now: datetime) -> WaitingDeadLetter:
    record = letter.record
    return WaitingDeadLetter(
        DEAD_LETTER_TOPIC,
        Place(*record.place),
        letter.reason,
        letter.detail,
        now,
        *_published(record.key, PUBLISHED_KEY_BYTES_MAX),
        *_published(record.value, PUBLISHED_VALUE_BYTES_MAX),
        *published_headers(record.headers, headers_as_json(record.headers)),
    )


def _published(original: bytes | None, bytes_max: int) -> tuple[bytes | None, int | None, str | None]:
    """The published key or value, its size, and instead of one that is too large its hash."""
    if original is None:
        return None, None, None
    is_too_large = len(original) > bytes_max
    return None if is_too_large else original, len(original), sha256(original).hexdigest() if is_too_large else None
