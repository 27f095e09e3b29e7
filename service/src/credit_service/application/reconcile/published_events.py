"""The published topics in a reconciliation: sums first, then the events of accounts that disagree."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field

from credit_service import bounds
from credit_service.application.reconcile.findings import Finding, Findings, place_text
from credit_service.application.reconcile.fingerprint import hash_of_event
from credit_service.application.reconcile.partition_number import PartitionNumber
from credit_service.application.reconcile.ports import Audit, AuditedAccount, Pending, PublishedRecord, Topics
from credit_service.application.reconcile.published import PublishedTally, agrees, look_closely, name_of
from credit_service.domain.audit.history import History

NOTHING_WAITS = Pending()


@dataclass(slots=True)
class PublishedEvents:
    """Compares the events of `topics` with the ledger, of one account if `account_id` is given.

    `count_read` is called with the number of records of each portion.
    """

    topics: Topics
    findings: Findings
    account_id: str | None
    count_read: Callable[[int], None]
    pending: Mapping[str, Pending] = field(default_factory=dict)
    repaired: set[str] = field(default_factory=set)
    dropped: Mapping[str, str] = field(default_factory=dict)

    async def prepare(self, audit: Audit) -> None:
        """Loads what waits in the outbox, and which events were repaired or dropped."""
        self.pending = await audit.pending()
        self.repaired = await audit.repaired_events()
        self.dropped = await audit.dropped_events()

    async def read(self, here: PartitionNumber, audited: Mapping[str, AuditedAccount]) -> None:
        """Adds the events of a partition number to the sums of the `audited` accounts."""
        # The end is read after the snapshot: events that do not wait in the snapshot's outbox lie before it.
        here.published_spans = await self.topics.published_spans(here.number)
        for span in here.published_spans:
            if span.lost_to_retention:
                message = f"{span.partition[0]}/{span.partition[1]}: published events before {span.first} are gone"
                self.findings.could_not_tell(message)
        async with aclosing(self.topics.published(here.number)) as portions:
            async for records in portions:
                for record in records:
                    if here.began_ms is None:
                        here.began_ms = record.timestamp_ms
                    self._add_published(here, record, audited)
                self.count_read(len(records))

    def _add_published(
        self, here: PartitionNumber, record: PublishedRecord, audited: Mapping[str, AuditedAccount]
    ) -> None:
        name = name_of(record)
        if name is None:
            subject = place_text(record.place)
            self.findings.add(Finding("event-extra", None, subject, "an id that this service does not give"))
            return
        if self.account_id not in (None, name.account_id):
            return
        account = audited.get(name.account_id)
        if account is None:
            # The account is newer than the snapshot, or of another partition number.
            return
        last = account.row.position if name.is_decline else account.row.sequence
        if name.number > last:
            return
        tally = here.published.setdefault(name.account_id, PublishedTally())
        hashed = hash_of_event(record.event_id or "", record.key, record.value)
        tally.add(name.number, hashed, is_decline=name.is_decline)

    def agrees(self, here: PartitionNumber, history: History) -> bool:
        """Whether the sum over the account's events is that over the ledger."""
        tally = here.published.get(history.account_id)
        pending = self._pending_of(history.account_id)
        return agrees(history, tally, pending, is_whole=here.is_whole, began_ms=here.began_ms)

    async def compare(self, here: PartitionNumber) -> None:
        """Compares the events of accounts that disagree, one by one."""
        records: dict[str, list[PublishedRecord]] = defaultdict(list)
        kept = 0
        async with aclosing(self.topics.published(here.number)) as portions:
            async for portion in portions:
                for record in portion:
                    name = name_of(record)
                    if name is not None and name.account_id in here.odd_events:
                        records[name.account_id].append(record)
                        kept += 1
                if kept > bounds.LOOKED_AT_MAX:
                    message = f"partition number {here.number}: too many published events of accounts that disagree"
                    self.findings.could_not_tell(message)
                    return
        for name_, history in here.odd_events.items():
            last = history.row
            seen = [
                record
                for record in records[name_]
                if (n := name_of(record)) is not None and n.number <= (last.position if n.is_decline else last.sequence)
            ]
            found = look_closely(
                history,
                seen,
                self._pending_of(name_),
                is_whole=here.is_whole,
                began_ms=here.began_ms,
                repaired=self.repaired,
                dropped=self.dropped,
                gone=here.gone.get(name_, {False: set(), True: set()}),
            )
            for finding in found:
                self.findings.add(finding)

    def _pending_of(self, account_id: str) -> Pending:
        return self.pending.get(account_id, NOTHING_WAITS)
