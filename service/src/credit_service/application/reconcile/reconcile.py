"""Reconciliation: compares the topics, the decisions, the ledger and the published events.

Sums are compared first: an account whose sums agree is not looked at twice. One partition number is compared at a time,
so that memory does not grow with the ledger, but with its largest account only.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from credit_contracts.envelope import Unreadable
from credit_service import bounds
from credit_service.application.dead_letters.model import TakesApart
from credit_service.application.ports import TopicPartition
from credit_service.application.reconcile import messages as messages_audit
from credit_service.application.reconcile.findings import Finding, Findings, place_text
from credit_service.application.reconcile.fingerprint import Fingerprint
from credit_service.application.reconcile.incoming import IncomingMessages
from credit_service.application.reconcile.partition_number import PartitionNumber
from credit_service.application.reconcile.ports import Audit, AuditedAccount, Span, Topics
from credit_service.application.reconcile.published_events import PublishedEvents
from credit_service.application.reconcile.recomputed import fill_gaps, findings_of, gone_of, recompute
from credit_service.domain.audit.differences import Difference
from credit_service.domain.audit.history import History
from credit_service.domain.audit.recompute import Recomputed
from credit_service.domain.event import Incoming, Place
from credit_service.domain.rules import Rules

if TYPE_CHECKING:
    from credit_service.application.record import Record
    from credit_service.domain.account import Account


CountRead = Callable[[int], None]
"""Called with the number of messages read since the last call."""


@dataclass(slots=True)
class Compared:
    """How much was compared."""

    messages: int = 0
    published: int = 0
    accounts: int = 0
    decisions: int = 0
    changes: int = 0


class Reconciliation:
    """One run over `topics` and one snapshot of the ledger; `findings` has the result."""

    def __init__(
        self,
        audit: Audit,
        topics: Topics,
        rules: Rules,
        findings: Findings,
        takes_apart: TakesApart,
        *,
        account_id: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        is_window: bool = False,
        count_read: CountRead = lambda _: None,
    ) -> None:
        self.compared = Compared()
        self._audit = audit
        self._topics = topics
        self._rules = rules
        self._findings = findings
        self._messages = IncomingMessages(topics, audit.lookup, takes_apart, findings)
        self._events = PublishedEvents(topics, findings, account_id, self._count_published)
        self._account_id = account_id
        self._window = (start, end) if is_window else None
        self._count_read = count_read
        self._made_anew: Mapping[TopicPartition, datetime] = {}
        self._touched: Collection[int] | None = None
        # Decisions on messages of another partition number than their account's, and the places of such messages.
        self._elsewhere: dict[Place, tuple[str, datetime, str]] = {}
        self._confirmed: set[Place] = set()

    async def run(self) -> None:
        """Compares everything and changes nothing; raises the faults of the ledger and of the broker."""
        await self._events.prepare(self._audit)
        self._made_anew = await self._audit.made_anew()
        spans = [span for number in range(self._topics.partitions) for span in self._spans(number)]
        for span in spans:
            if span.lost_to_retention:
                topic, number = span.partition
                message = f"{topic}/{number}: {span.lost_to_retention} offsets before {span.first} are gone"
                self._findings.could_not_tell(message)
        if self._window is not None and self._account_id is None:
            self._touched = await self._audit.touched(spans, *self._window)
        await self._letters(spans)
        if self._account_id is None:
            await self._shared_keys()
        for number in range(self._topics.partitions):
            await self._reconcile_number(number)
        self._add_extra_elsewhere({span.partition: span for span in spans})

    def _count_published(self, records: int) -> None:
        self.compared.published += records
        self._count_read(records)

    def _spans(self, number: int) -> Sequence[Span]:
        return [replace(s, anew_at=self._made_anew.get(s.partition)) for s in self._topics.spans(number)]

    async def _letters(self, spans: Sequence[Span]) -> None:
        async with aclosing(self._audit.waiting_letters(spans)) as letters:
            async for letter_id, place, reason, account_id in letters:
                if self._account_id in (None, account_id):
                    message = f"dead letter {letter_id} ({reason}) waits for a person"
                    self._findings.add(Finding("dead-letter-waiting", account_id, place_text(place), message))

    async def _shared_keys(self) -> None:
        async with aclosing(self._audit.shared_keys()) as keys:
            async for source, event_id, accounts in keys:
                message = f"decided for {len(accounts)} accounts: {', '.join(accounts[:10])}"
                self._findings.add(Finding("key-shared", None, f"{source} {event_id}", message))

    async def _reconcile_number(self, number: int) -> None:
        here = PartitionNumber(number, self._spans(number))
        await self._read_incoming(here)
        audited = await self._audited(number)
        here.known = set(audited)
        await self._events.read(here, audited)
        async with aclosing(self._audit.accounts(number, self._topics.partitions, self._account_id)) as portions:
            async for accounts in portions:
                wanted = [a for a in accounts if self._touched is None or a.number in self._touched]
                small = [a for a in wanted if a.row.position <= bounds.ACCOUNT_DECISIONS_MAX]
                for account in wanted:
                    if account not in small:
                        self._findings.could_not_tell(f"{account.account_id} has too many decisions to be recomputed")
                await self._accounts(here, small)
        # Messages of accounts of other numbers, or of unknown accounts.
        here.odd_messages |= {account_id: None for account_id in here.messages if account_id not in here.known}
        if here.odd_messages:
            await self._look_at_messages(here)
        if here.odd_events:
            await self._events.compare(here)

    async def _audited(self, number: int) -> dict[str, AuditedAccount]:
        found: dict[str, AuditedAccount] = {}
        async with aclosing(self._audit.accounts(number, self._topics.partitions, self._account_id)) as portions:
            async for accounts in portions:
                found.update((account.account_id, account) for account in accounts)
        return found

    async def _read_incoming(self, here: PartitionNumber) -> None:
        async with aclosing(self._messages.records(here.number)) as portions:
            async for records in portions:
                unreadable: list[Record] = []
                for record in records:
                    content = record.content
                    if isinstance(content, Unreadable):
                        unreadable.append(record)
                    elif self._account_id in (None, content.account_id):
                        here.messages[content.account_id].add(messages_audit.hash_of_record(record))
                if unreadable and self._account_id is None:
                    found, _ = await messages_audit.look_closely(unreadable, self._audit.lookup)
                    self._add(found)
                self.compared.messages += len(records)
                self._count_read(len(records))

    async def _accounts(self, here: PartitionNumber, accounts: Sequence[AuditedAccount]) -> None:
        made: dict[int, Account] = {}
        for account, history in zip(accounts, await self._audit.histories(accounts), strict=True):
            self.compared.accounts += 1
            self.compared.decisions += len(history.decisions)
            self.compared.changes += len(history.changes)
            recomputed, found = recompute(history, self._rules)
            name = history.account_id
            in_topics = here.messages.get(name, Fingerprint())
            decided = messages_audit.decided_from(history, here.spans)
            for place, (decided_at, named) in messages_audit.places_elsewhere(history, here.number).items():
                self._elsewhere[place] = (name, decided_at, named)
            has_lost = any(d.kind in ("decision-missing", "not-recomputed") for d in found)
            if (in_topics.count, in_topics.total) != (decided.count, decided.total) or has_lost:
                # Its lost messages may be in the topic: its differences are added after these are looked at.
                here.odd_messages[name] = history
            else:
                self._add_differences(here, history, found)
            if not found and recomputed is not None:
                made[account.number] = recomputed.account
            if not self._events.agrees(here, history):
                here.odd_events[name] = history
        for account_id, prospect_id, difference in await self._audit.differing_prospects(made):
            self._findings.add(Finding("prospect-differs", account_id, prospect_id, difference))

    async def _look_at_messages(self, here: PartitionNumber) -> None:
        missing: dict[str, list[Finding]] = defaultdict(list)
        decided: set[Place] = set()
        portion: list[Record] = []
        looked_at = 0

        async def look() -> None:
            found, from_these = await messages_audit.look_closely(portion, self._audit.lookup)
            decided.update(from_these)
            self._confirmed |= {
                record.place
                for record in portion
                if record.place in from_these
                and isinstance(record.content, Incoming)
                and record.content.account_id not in here.known
            }
            for finding in found:
                if finding.kind == "message-missing" and finding.account_id is not None:
                    missing[finding.account_id].append(finding)
                else:
                    self._findings.add(finding)
            portion.clear()

        async with aclosing(self._messages.records(here.number)) as portions:
            async for records in portions:
                odd = [
                    record
                    for record in records
                    if isinstance(record.content, Incoming) and record.content.account_id in here.odd_messages
                ]
                portion += odd
                looked_at += len(odd)
                if len(portion) >= bounds.LOOK_UP_MAX:
                    await look()
                if looked_at > bounds.LOOKED_AT_MAX:
                    message = f"partition number {here.number}: too many messages of accounts that disagree"
                    self._findings.could_not_tell(message)
                    break
        if portion:
            await look()
        for name, history in here.odd_messages.items():
            if history is not None:
                if looked_at <= bounds.LOOKED_AT_MAX:
                    self._add_extra(history, here.spans, decided)
                missing[name], recomputed, found = fill_gaps(history, self._rules, missing[name])
                self._add_differences(here, history, found, recomputed)
            self._add(missing[name])

    def _add_extra_elsewhere(self, spans: Mapping[TopicPartition, Span]) -> None:
        for place, (account_id, decided_at, named) in self._elsewhere.items():
            span = spans.get(place[:2])
            is_within = span.holds(place.offset, decided_at) if span else self._window is None
            if is_within and place not in self._confirmed:
                self._findings.add(_extra(account_id, place, named))

    def _add_extra(self, history: History, spans: Sequence[Span], decided: set[Place]) -> None:
        for place, named in messages_audit.places_of(history, spans).items():
            if place not in decided:
                self._findings.add(_extra(history.account_id, place, named))

    def _add_differences(
        self, here: PartitionNumber, history: History, found: Sequence[Difference], recomputed: Recomputed | None = None
    ) -> None:
        self._add(findings_of(history, found, recomputed))
        if found:
            here.gone[history.account_id] = gone_of(found)

    def _add(self, found: Sequence[Finding]) -> None:
        for finding in found:
            self._findings.add(finding)


def _extra(account_id: str, place: Place, named: str) -> Finding:
    return Finding("message-extra", account_id, place_text(place), f"{named} was decided, but the message is not there")
