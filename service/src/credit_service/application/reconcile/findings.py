"""The findings of a reconciliation: each disagreement once, with its repair."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from credit_service import bounds
from credit_service.application.record import Record
from credit_service.domain.audit.differences import DifferenceKind
from credit_service.domain.decision import Decision
from credit_service.domain.event import Place
from credit_service.domain.published import Published

FindingKind: TypeAlias = (
    Literal[
        "message-missing",
        "message-extra",
        "message-differs",
        "dead-letter-waiting",
        "key-shared",
        "prospect-differs",
        "event-missing",
        "event-dropped",
        "event-extra",
        "event-differs",
        "event-repeated",
        "event-out-of-order",
    ]
    | DifferenceKind
)

RepairAction = Literal["process", "publish", "recount", "restore", "person"]
"""`process`: decide the message. `publish`: publish the event under its old id. `recount`: compute balances from the
entries. `restore`: write the decision again, as the rules make it and the entries prove it. `person`: no repair."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One disagreement. `subject` is a place, `account:sequence`, or an account's position."""

    kind: FindingKind
    account_id: str | None
    subject: str
    message: str
    action: RepairAction = "person"
    # The repair needs one of these.
    record: Record | None = None
    decision: Decision | None = None
    event: Published | None = None


def place_text(place: Place) -> str:
    """The text of a place."""
    return f"{place.topic}/{place.partition}@{place.offset}"


@dataclass(slots=True)
class Findings:
    """Takes findings: calls `report` with each, counts them, and keeps those that can be repaired, up to a bound."""

    report: Callable[[Finding], None]
    counts: Counter[FindingKind] = field(default_factory=Counter)
    repairable: list[Finding] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def add(self, finding: Finding) -> None:
        """Adds a disagreement."""
        self.counts[finding.kind] += 1
        self.report(finding)
        if finding.action != "person" and len(self.repairable) < bounds.TO_MEND_MAX:
            self.repairable.append(finding)

    def could_not_tell(self, text: str) -> None:
        """Adds a text about something that could not be compared, with the reason."""
        if text not in self.unknown:
            self.unknown.append(text)
