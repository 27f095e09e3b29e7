"""Reconciliation: the topics, the decisions, the ledger and what was published are held against each other.

Sums first: where the two sides of an account have the same, nothing is looked at twice. One partition number at a time,
so that memory does not grow with the ledger; the largest account is what it takes.
"""

from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

from credit_contracts.envelope import Unreadable
from credit_service import bounds
from credit_service.application.dead_letters.model import TAKEN_APART, CannotTakeApart, TakesApart, portions_of
from credit_service.application.ports import TopicPartition
from credit_service.application.processing.known_events import KnownLetter, classify_keys
from credit_service.application.reconcile import messages as messages_audit
from credit_service.application.reconcile import published as published_audit
from credit_service.application.reconcile.findings import Finding, Findings, Mend, place_text
from credit_service.application.reconcile.fingerprint import Fingerprint, hash_of_event
from credit_service.application.reconcile.ports import Audit, AuditedAccount, Pending, PublishedRecord, Span, Topics
from credit_service.application.reconcile.published import PublishedTally, name_of
from credit_service.application.record import Record, is_batch
from credit_service.domain.audit.differences import Difference, compared
from credit_service.domain.audit.history import History, is_time_known, positions_missing
from credit_service.domain.audit.recompute import Recomputed
from credit_service.domain.decision import Decision
from credit_service.domain.event import Incoming, Place
from credit_service.domain.rules import Rules

if TYPE_CHECKING:
    from credit_service.domain.account import Account


NOTHING_WAITS = Pending()

Moved = Callable[[int], None]
"""Hears how many messages more were read."""


@dataclass(slots=True)
class Compared:
    """How much was held against each other."""

    messages: int = 0
    published: int = 0
    accounts: int = 0
    decisions: int = 0
    changes: int = 0


@dataclass(slots=True)
class _Number:
    """What is known of one partition number while it is gone through."""

    number: int
    spans: Sequence[Span]
    published_spans: Sequence[Span]
    told: dict[str, Fingerprint] = field(default_factory=lambda: defaultdict(Fingerprint))
    heard: dict[str, PublishedTally] = field(default_factory=dict)
    began_ms: int | None = None
    known: set[str] = field(default_factory=set)
    # Accounts that disagree, to be looked at closely: with the incoming topics, with the published ones.
    odd_messages: dict[str, History | None] = field(default_factory=dict)
    odd_events: dict[str, History] = field(default_factory=dict)
    gone: dict[str, dict[bool, set[int]]] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether the published topics were read from their very first messages on."""
        return all(span.first == 0 and not span.eaten for span in self.published_spans)


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
        moved: Moved = lambda _: None,
    ) -> None:
        self.compared = Compared()
        self._audit = audit
        self._topics = topics
        self._rules = rules
        self._findings = findings
        self._takes_apart = takes_apart
        self._account_id = account_id
        self._window = (start, end) if is_window else None
        self._moved = moved
        self._pending: Mapping[str, Pending] = {}
        self._repaired: set[str] = set()
        self._dropped: Mapping[str, str] = {}
        self._made_anew: Mapping[TopicPartition, datetime] = {}
        self._touched: Collection[int] | None = None
        # Decisions on messages of another partition number than their account's, and those that do lie there.
        self._elsewhere: dict[Place, tuple[str, datetime, str]] = {}
        self._confirmed: set[Place] = set()

    async def run(self) -> None:
        """Compares everything; raises the faults of the ledger and of the broker, nothing having been changed."""
        self._pending = await self._audit.pending()
        self._repaired = await self._audit.repaired_events()
        self._dropped = await self._audit.dropped_events()
        self._made_anew = await self._audit.made_anew()
        spans = [span for number in range(self._topics.partitions) for span in self._spans(number)]
        for span in spans:
            if span.eaten:
                told = f"{span.partition[0]}/{span.partition[1]}: {span.eaten} offsets before {span.first} are gone"
                self._findings.could_not_tell(told)
        if self._window is not None and self._account_id is None:
            self._touched = await self._audit.touched(spans, *self._window)
        await self._letters(spans)
        if self._account_id is None:
            await self._shared_keys()
        for number in range(self._topics.partitions):
            await self._reconcile_number(number)
        self._tell_elsewhere({span.partition: span for span in spans})

    def _spans(self, number: int) -> Sequence[Span]:
        return [replace(s, anew_at=self._made_anew.get(s.partition)) for s in self._topics.spans(number)]

    async def _letters(self, spans: Sequence[Span]) -> None:
        async with aclosing(self._audit.waiting_letters(spans)) as letters:
            async for letter_id, place, reason, account_id in letters:
                if self._account_id in (None, account_id):
                    told = f"dead letter {letter_id} ({reason}) waits for a person"
                    self._findings.add(Finding("dead-letter-waiting", account_id, place_text(place), told))

    async def _shared_keys(self) -> None:
        async with aclosing(self._audit.shared_keys()) as keys:
            async for source, event_id, accounts in keys:
                told = f"decided for {len(accounts)} accounts: {', '.join(accounts[:10])}"
                self._findings.add(Finding("key-shared", None, f"{source} {event_id}", told))

    async def _reconcile_number(self, number: int) -> None:
        here = _Number(number, self._spans(number), ())
        await self._read_incoming(here)
        standing = await self._standing(number)
        here.known = set(standing)
        await self._read_published(here, standing)
        async with aclosing(self._audit.accounts(number, self._topics.partitions, self._account_id)) as portions:
            async for accounts in portions:
                wanted = [a for a in accounts if self._touched is None or a.number in self._touched]
                small = [a for a in wanted if a.standing.position <= bounds.ACCOUNT_DECISIONS_MAX]
                for account in wanted:
                    if account not in small:
                        self._findings.could_not_tell(f"{account.account_id} has too many decisions to be recomputed")
                await self._accounts(here, small)
        # Messages of accounts that are not of this number, or of none at all.
        here.odd_messages |= {account_id: None for account_id in here.told if account_id not in here.known}
        if here.odd_messages:
            await self._look_at_messages(here)
        if here.odd_events:
            await self._look_at_events(here)

    async def _standing(self, number: int) -> dict[str, AuditedAccount]:
        found: dict[str, AuditedAccount] = {}
        async with aclosing(self._audit.accounts(number, self._topics.partitions, self._account_id)) as portions:
            async for accounts in portions:
                found.update((account.account_id, account) for account in accounts)
        return found

    async def _incoming(self, number: int) -> AsyncGenerator[list[Record]]:
        """As the topics bring them; of batches that were too large to be read, also what was decided of them since."""
        async with aclosing(self._topics.incoming(number)) as portions:
            async for records in portions:
                batches = [record for record in records if is_batch(record)]
                letters = await self._audit.lookup.letters([b.place for b in batches]) if batches else {}
                yield [r for r in records if r.place not in letters or letters[r.place].outcome != TAKEN_APART]
                for batch in batches:
                    if batch.place in letters:
                        async for portion in self._decided_of(batch, letters[batch.place]):
                            yield portion

    async def _decided_of(self, batch: Record, letter: KnownLetter) -> AsyncGenerator[list[Record]]:
        """The records of a batch that was taken apart; of one that waits, those that a retry has decided."""
        try:
            async with self._takes_apart(batch) as within:
                for portion in portions_of(within):
                    records = [one for one in portion if isinstance(one, Record)]
                    if letter.outcome != TAKEN_APART:
                        _, known, _ = await classify_keys(records, self._audit.lookup)
                        records = [
                            r for r, k in zip(records, known, strict=True) if k is not None and k.place == r.place
                        ]
                    yield records
        except CannotTakeApart as error:
            self._findings.could_not_tell(f"{place_text(batch.place)}: a batch cannot be taken apart: {error}")

    async def _read_incoming(self, here: _Number) -> None:
        async with aclosing(self._incoming(here.number)) as portions:
            async for records in portions:
                unreadable: list[Record] = []
                for record in records:
                    content = record.content
                    if isinstance(content, Unreadable):
                        unreadable.append(record)
                    elif self._account_id in (None, content.account_id):
                        here.told[content.account_id].add(messages_audit.hash_of_record(record))
                if unreadable and self._account_id is None:
                    found, _ = await messages_audit.look_closely(unreadable, self._audit.lookup)
                    self._tell(found)
                self.compared.messages += len(records)
                self._moved(len(records))

    async def _read_published(self, here: _Number, standing: Mapping[str, AuditedAccount]) -> None:
        # The end is asked for after the snapshot: what does not wait in its outbox lies before.
        here.published_spans = await self._topics.published_spans(here.number)
        for span in here.published_spans:
            if span.eaten:
                told = f"{span.partition[0]}/{span.partition[1]}: what was published before {span.first} is gone"
                self._findings.could_not_tell(told)
        async with aclosing(self._topics.published(here.number)) as portions:
            async for records in portions:
                for record in records:
                    if here.began_ms is None:
                        here.began_ms = record.timestamp_ms
                    self._hear(here, record, standing)
                self.compared.published += len(records)
                self._moved(len(records))

    def _hear(self, here: _Number, record: PublishedRecord, standing: Mapping[str, AuditedAccount]) -> None:
        name = name_of(record)
        if name is None:
            subject = place_text(record.place)
            self._findings.add(Finding("event-extra", None, subject, "an id that this service does not give"))
            return
        if self._account_id not in (None, name.account_id):
            return
        account = standing.get(name.account_id)
        if account is None:
            # Opened after the snapshot, or of another partition number.
            return
        last = account.standing.position if name.is_decline else account.standing.sequence
        if name.number > last:
            return
        heard = here.heard.setdefault(name.account_id, PublishedTally())
        hashed = hash_of_event(record.event_id or "", record.key, record.value)
        heard.add(name.number, hashed, is_decline=name.is_decline)

    async def _accounts(self, here: _Number, accounts: Sequence[AuditedAccount]) -> None:
        made: dict[int, Account] = {}
        for account, history in zip(accounts, await self._audit.histories(accounts), strict=True):
            self.compared.accounts += 1
            self.compared.decisions += len(history.decisions)
            self.compared.changes += len(history.changes)
            recomputed, found = self._recomputed(history)
            name = history.account_id
            told = here.told.get(name, Fingerprint())
            decided = messages_audit.decided_from(history, here.spans)
            for place, (decided_at, named) in messages_audit.places_elsewhere(history, here.number).items():
                self._elsewhere[place] = (name, decided_at, named)
            has_lost = any(d.kind in ("decision-missing", "not-recomputed") for d in found)
            if (told.count, told.total) != (decided.count, decided.total) or has_lost:
                # What it lost may lie in the topic, so that its differences are told once that was looked at.
                here.odd_messages[name] = history
            else:
                self._tell_differences(here, history, found)
            if not found and recomputed is not None:
                made[account.number] = recomputed.account
            if not published_audit.agrees(
                history, here.heard.get(name), self._waits(name), is_whole=here.is_whole, began_ms=here.began_ms
            ):
                here.odd_events[name] = history
        for account_id, prospect_id, told_of in await self._audit.differing_prospects(made):
            self._findings.add(Finding("prospect-differs", account_id, prospect_id, told_of))

    def _waits(self, account_id: str) -> Pending:
        return self._pending.get(account_id, NOTHING_WAITS)

    def _recomputed(
        self, history: History, found: Mapping[int, Incoming] | None = None
    ) -> tuple[Recomputed | None, list[Difference]]:
        try:
            return compared(history, self._rules, found)
        except Exception as error:
            told = f"the rules fail on what is recorded: {type(error).__name__}"
            return None, [Difference("not-recomputed", next(positions_missing(history), 0), told)]

    async def _look_at_messages(self, here: _Number) -> None:
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

        async with aclosing(self._incoming(here.number)) as portions:
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
                    told = f"partition number {here.number}: too many messages of accounts that disagree"
                    self._findings.could_not_tell(told)
                    break
        if portion:
            await look()
        for name, history in here.odd_messages.items():
            if history is not None:
                if looked_at <= bounds.LOOKED_AT_MAX:
                    self._tell_extra(history, here.spans, decided)
                missing[name] = self._tell_lost(here, history, missing[name])
            self._tell(missing[name])

    def _tell_elsewhere(self, spans: Mapping[TopicPartition, Span]) -> None:
        for place, (account_id, decided_at, named) in self._elsewhere.items():
            span = spans.get(place[:2])
            is_within = span.holds(place.offset, decided_at) if span else self._window is None
            if is_within and place not in self._confirmed:
                self._findings.add(_extra(account_id, place, named))

    def _tell_extra(self, history: History, spans: Sequence[Span], decided: set[Place]) -> None:
        for place, named in messages_audit.places_of(history, spans).items():
            if place not in decided:
                self._findings.add(_extra(history.account_id, place, named))

    def _tell_lost(self, here: _Number, history: History, missing: list[Finding]) -> list[Finding]:
        """Tells the differences of an account; messages that fill its gaps are no longer missing. Returns the rest."""
        recomputed, found = self._recomputed(history)
        if not found:
            return missing
        filled: dict[int, Incoming] = {}
        left = list(missing)
        for position in list(positions_missing(history))[: bounds.FOUND_TRIES_MAX]:
            if recomputed is not None and position in recomputed.decisions:
                continue
            for candidate in left[: bounds.FOUND_TRIES_MAX]:
                if candidate.record is None or not isinstance(candidate.record.content, Incoming):
                    continue
                trial, differing = self._recomputed(history, filled | {position: candidate.record.content})
                if trial is not None and not any(d.kind != "decision-missing" for d in differing):
                    filled[position] = candidate.record.content
                    left.remove(candidate)
                    recomputed, found = trial, differing
                    break
        self._tell_differences(here, history, found, recomputed)
        return left

    def _tell_differences(
        self, here: _Number, history: History, found: Sequence[Difference], recomputed: Recomputed | None = None
    ) -> None:
        gone: dict[bool, set[int]] = {False: set(), True: set()}
        is_restorable = all(d.kind == "decision-missing" for d in found)
        for difference in found:
            mend: Mend = "person"
            decision = None
            if difference.kind == "decision-missing":
                gone[True].add(difference.number)
                decision = recomputed.decisions.get(difference.number) if recomputed else None
                if is_restorable and decision is not None and _is_certain(history, decision):
                    mend = "restore"
            elif difference.kind == "entry-missing":
                gone[False].add(difference.number)
            elif difference.is_derived and all(other.is_derived for other in found):
                mend = "recount"
            self._findings.add(
                Finding(
                    difference.kind,
                    history.account_id,
                    _subject(history.account_id, difference),
                    difference.detail,
                    mend,
                    decision=decision,
                )
            )
        if found:
            here.gone[history.account_id] = gone

    async def _look_at_events(self, here: _Number) -> None:
        records: dict[str, list[PublishedRecord]] = defaultdict(list)
        kept = 0
        async with aclosing(self._topics.published(here.number)) as portions:
            async for portion in portions:
                for record in portion:
                    name = name_of(record)
                    if name is not None and name.account_id in here.odd_events:
                        records[name.account_id].append(record)
                        kept += 1
                if kept > bounds.LOOKED_AT_MAX:
                    told = f"partition number {here.number}: too many published events of accounts that disagree"
                    self._findings.could_not_tell(told)
                    return
        for name_, history in here.odd_events.items():
            last = history.row
            seen = [
                record
                for record in records[name_]
                if (n := name_of(record)) is not None and n.number <= (last.position if n.is_decline else last.sequence)
            ]
            found = published_audit.look_closely(
                history,
                seen,
                self._waits(name_),
                is_whole=here.is_whole,
                began_ms=here.began_ms,
                repaired=self._repaired,
                dropped=self._dropped,
                gone=here.gone.get(name_, {False: set(), True: set()}),
            )
            self._tell(found)

    def _tell(self, found: Sequence[Finding]) -> None:
        for finding in found:
            self._findings.add(finding)


def _is_certain(history: History, decision: Decision) -> bool:
    """A decline was told to others, with its time; of the rest only the ledger speaks."""
    return decision.outcome != "declined" or is_time_known(history, decision.position)


def _extra(account_id: str, place: Place, named: str) -> Finding:
    return Finding("message-extra", account_id, place_text(place), f"{named} was decided, and does not lie there")


def _subject(account_id: str, difference: Difference) -> str:
    if difference.kind.startswith("entry"):
        return f"{account_id}:{difference.number}"
    if difference.kind == "grant-differs":
        return f"{account_id}, grant {difference.number}"
    if difference.number == 0:
        return account_id
    return f"{account_id}, position {difference.number}"
