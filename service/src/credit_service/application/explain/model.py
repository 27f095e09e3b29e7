"""The explanation of an account's balance, now or in the past: from the balance down to the messages.

Nothing here is read from the current state (`remaining`, `balance`): all follows from entries and decisions, which
never change. So an explanation can be given as of any instant and any decision (see `application.explain.position`).
"""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol, TypeAlias

from credit_contracts.outgoing import Reason
from credit_contracts.times import Instant
from credit_service.application.queries import JsonAnswer, ReadPlace
from credit_service.domain.decision import Outcome, RequestStatus
from credit_service.domain.grant import Origin
from credit_service.domain.prospect import ProspectOrigin

When: TypeAlias = datetime | int | None
"""The state up to and including an instant, or after the decision of a position; None: now."""


class Person(JsonAnswer):
    """The operator of a command, and the reason."""

    operator: str
    reason: str


class ExplainedDecision(JsonAnswer):
    """A decision and its message; `place` None: it has none, it is of a timer or a command.

    The topics of places are named as the broker names them.
    """

    position: int
    type: str
    outcome: Outcome
    source: str
    id: str
    prospect_id: str | None
    occurred_at: Instant
    decided_at: Instant
    declined_in_period: int | None
    period_ends_at: Instant | None
    note: str | None
    place: ReadPlace | None
    by: Person | None = None


class Beside(JsonAnswer):
    """The refund of a charge, or the charge of a refund."""

    sequence: int
    grant_id: int | None


class ExplainedEntry(JsonAnswer):
    """One entry with its decision. A charge and its refund name each other, as far as both were recorded by then.

    `charges` are the sequences of all charges under the decision, where there is more than one: a delete that comes
    late parts a stay in two, and the second is charged under the event that began it.
    """

    sequence: int
    line: int
    grant_id: int | None
    reason: Reason
    amount: int
    previous_balance: int | None
    balance: int | None
    occurred_at: Instant
    recorded_at: Instant
    refunds: Beside | None
    refunded_by: Beside | None
    charges: list[int]
    decision: ExplainedDecision


class Elided(JsonAnswer):
    """The number and sum of a grant's entries that are not shown."""

    grant_id: int | None
    entries: int
    amount: int


class Sum(JsonAnswer):
    """The number and sum of a grant's entries with one reason."""

    reason: Reason
    entries: int
    amount: int


class ExplainedGrant(JsonAnswer):
    """The state of a grant; `remaining` is the sum of its `sums`."""

    grant_id: int
    origin: Origin
    effective_at: Instant
    expires_at: Instant | None
    remaining: int
    sums: list[Sum]


class WithoutGrant(JsonAnswer):
    """Charges and refunds on an unlimited plan, and switches to and from it: they move no credits."""

    sums: list[Sum]


class GrantsElided(JsonAnswer):
    """The number of grants that are not shown, and their remaining credits."""

    grants: int
    remaining: int


class ExplainedParkedEvent(JsonAnswer):
    """An event that waits for its account's first plan."""

    source: str
    id: str
    type: str
    prospect_id: str | None
    occurred_at: Instant
    parked_at: Instant
    place: ReadPlace


class Summary(JsonAnswer):
    """The state of the account after `position` decisions and `sequence` balance changes.

    `balance` None is unlimited; `held` is the sum of the grants, also on an unlimited plan. `at` is the instant of the
    query, None for now or a position; `first_decided_at` None: nothing was ever decided. `parked` counts events that
    were parked then and still are: events that were decided since have left no trace of their parking.
    """

    account_id: str
    position: int
    sequence: int
    at: Instant | None
    first_decided_at: Instant | None
    balance: int | None
    unlimited: bool
    held: int
    outcomes: dict[Outcome, int]
    parked: int
    grants: list[ExplainedGrant]
    grants_elided: GrantsElided | None
    without_grant: WithoutGrant | None

    @property
    def declined(self) -> int:
        """The number of declines."""
        return self.outcomes.get("declined", 0)


@dataclass(frozen=True, slots=True)
class Explanation:
    """An explained account. The generators read while they are iterated: in this order, each once.

    `entries` come grant by grant in the order of `summary.grants`, those without a grant last, each by sequence.
    `declines` are the last ones, `parked` the first.
    """

    summary: Summary
    entries: AsyncGenerator[ExplainedEntry | Elided]
    declines: AsyncGenerator[ExplainedDecision]
    parked: AsyncGenerator[ExplainedParkedEvent]


Unexplained: TypeAlias = Literal["unknown-account", "position-beyond", "in-the-future"]


class ExplainedCharge(JsonAnswer):
    """The charge of a prospect's last stay. `sequence` is negative for a charge from before the ledger.

    `forfeited`: its refund came too late to be one.
    """

    sequence: int
    status: Literal["alive", "refunded", "forfeited"]
    refund_sequence: int | None


class RefundState(JsonAnswer):
    """The current state of a prospect; `charge` None: its last stay cost nothing."""

    on_account: bool
    origin: ProspectOrigin | None
    charge: ExplainedCharge | None


class ExplainedRequest(JsonAnswer):
    """A request to refund a charge, by the decision at `position`, and how it ended."""

    charge_sequence: int
    position: int
    status: RequestStatus
    requested_at: Instant
    decided_position: int | None
    decided_at: Instant | None
    by: Person | None


class Letter(JsonAnswer):
    """A dead letter, with the readable parts of its message."""

    dead_letter_id: int
    reason: str
    detail: str
    status: Literal["waiting", "resolved", "discarded"]
    outcome: str | None
    place: ReadPlace
    source: str | None
    id: str | None
    type: str | None
    occurred_at: Instant
    created_at: Instant
    ended_at: Instant | None
    by: Person | None


class FoundLetters(JsonAnswer):
    """The matching dead letters of an account, newest first.

    Of `erased` letters it is unknown whether they match, and the bytes of `left_out` ones are in Kafka alone;
    `is_complete` False: there were too many letters to read all.
    """

    letters: list[Letter]
    erased: int
    left_out: int
    is_complete: bool


class Caused(JsonAnswer):
    """A decision with the entries it caused, also later, and the refund request it opened."""

    decision: ExplainedDecision
    entries: list[ExplainedEntry]
    request: ExplainedRequest | None = None


class ProspectHistory(JsonAnswer):
    """The history of a prospect on an account, each list in order of occurrence.

    `is_complete` False: there are too many decisions on it, and the first are shown.
    """

    account_id: str
    prospect_id: str
    standing: RefundState | None
    decisions: list[Caused]
    parked: list[ExplainedParkedEvent]
    dead_letters: FoundLetters
    is_complete: bool


class MessageOutcome(JsonAnswer):
    """The outcome of one message. `other_account_id`: it was decided for that account, not for this one."""

    account_id: str
    source: str
    id: str
    status: Literal["decided", "parked", "dead-letter", "never-seen"]
    decided: Caused | None
    parked: ExplainedParkedEvent | None
    dead_letters: FoundLetters
    other_account_id: str | None


class Explains(Protocol):
    """Explains the ledger. Each answer is of one snapshot. Raises `LedgerUnavailable`."""

    def account(
        self, account_id: str, when: When, *, is_full: bool
    ) -> AbstractAsyncContextManager[Explanation | Unexplained]:
        """The explained account; unless `is_full`, a bounded part of it, with the sums of the rest."""

    async def prospect_history(self, account_id: str, prospect_id: str) -> ProspectHistory | None:
        """The history of the prospect; None: the account is unknown.

        There is no index for it: all decisions of the account are read.
        """

    async def message_outcome(self, account_id: str, source: str, event_id: str) -> MessageOutcome | None:
        """The outcome of the message; None: the account is unknown."""
