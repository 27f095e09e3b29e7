"""The state of a reconciliation while it goes through one partition number."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from credit_service.application.reconcile.fingerprint import Fingerprint
from credit_service.application.reconcile.ports import Span
from credit_service.application.reconcile.published import PublishedTally
from credit_service.domain.audit.history import History


@dataclass(slots=True)
class PartitionNumber:
    """The sums of each account over the topics, and the accounts whose sums differ from the ledger's.

    Messages of the accounts `odd_messages` and published events of the accounts `odd_events` are compared one by one.
    `gone` are changes (False) and decisions (True) that the ledger itself misses.
    """

    number: int
    spans: Sequence[Span]
    published_spans: Sequence[Span] = ()
    messages: dict[str, Fingerprint] = field(default_factory=lambda: defaultdict(Fingerprint))
    published: dict[str, PublishedTally] = field(default_factory=dict)
    began_ms: int | None = None
    known: set[str] = field(default_factory=set)
    odd_messages: dict[str, History | None] = field(default_factory=dict)
    odd_events: dict[str, History] = field(default_factory=dict)
    gone: dict[str, dict[bool, set[int]]] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether the published topics were read from their very first messages on."""
        return all(span.first == 0 and not span.lost_to_retention for span in self.published_spans)
