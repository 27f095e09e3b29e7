"""The results of one batch."""

from dataclasses import dataclass, field

from credit_service.domain.command import Answer
from credit_service.domain.decision import Adjustment, Change, DecidedRequest, Decision, RefundRequest, Refused
from credit_service.domain.event import Incoming


@dataclass(slots=True)
class Decided:
    """The results of one call of `decide`, except for the accounts, which it changes in place."""

    decisions: list[Decision] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    parked: list[Incoming] = field(default_factory=list)
    unparked: list[Incoming] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    duplicates: list[Incoming] = field(default_factory=list)
    requests: list[RefundRequest] = field(default_factory=list)
    requests_overtaken: list[tuple[str, int]] = field(default_factory=list)
    decided_requests: list[DecidedRequest] = field(default_factory=list)
    adjustments: list[Adjustment] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
