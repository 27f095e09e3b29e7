"""Why an account's balance is what it is, or was: the answers, from the balance down to the messages.

Nothing here is read from what stands now (`remaining`, `balance`): all follows from entries and decisions, which are
never changed, so it can be asked as of any instant and any decision (see `application.explain_position`).
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
"""As recorded up to and with an instant; after the decision of a position; None: now."""


class Person(JsonAnswer):
    """Who ordered it, and why."""

    operator: str
    reason: str


class ExplainedDecision(JsonAnswer):
    """A decision and the message behind it; `place` None: there is none, it came about by itself or by a person.

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
    """The entry that gives a charge back, or that is given back."""

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
    """So many entries of a grant that are not shown, and what they add up to."""

    grant_id: int | None
    entries: int
    amount: int


class Sum(JsonAnswer):
    """All entries of a grant with one reason."""

    reason: Reason
    entries: int
    amount: int


class ExplainedGrant(JsonAnswer):
    """A grant as it stood; `remaining` is the sum of its `sums`."""

    grant_id: int
    origin: Origin
    effective_at: Instant
    expires_at: Instant | None
    remaining: int
    sums: list[Sum]


class WithoutGrant(JsonAnswer):
    """Charges and refunds on an unlimited plan, and switches to and from it: there are no credits in them."""

    sums: list[Sum]


class GrantsElided(JsonAnswer):
    """So many grants that are not shown, and what remained of them."""

    grants: int
    remaining: int


class ParkedEvent(JsonAnswer):
    """An event that waits for its account's first plan."""

    source: str
    id: str
    type: str
    prospect_id: str | None
    occurred_at: Instant
    parked_at: Instant
    place: ReadPlace


class Summary(JsonAnswer):
    """The account as it stood after `position` decisions and `sequence` balance changes.

    `balance` None is unlimited; `held` is what the grants hold, also beneath. `at` is what was asked for, None for now
    or a position; `first_decided_at` None: nothing was ever decided. `parked` counts those that wait still, and waited
    then: what has been decided since has left no trace of its waiting.
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
        """How many decisions were declines."""
        return self.outcomes.get("declined", 0)


@dataclass(frozen=True, slots=True)
class Explanation:
    """An account explained. What follows is read while it is asked for, in this order, each once.

    `entries` come grant by grant in the order of `summary.grants`, those without a grant last, each by sequence.
    `declines` are the last ones, `parked` the first.
    """

    summary: Summary
    entries: AsyncGenerator[ExplainedEntry | Elided]
    declines: AsyncGenerator[ExplainedDecision]
    parked: AsyncGenerator[ParkedEvent]


Unexplained: TypeAlias = Literal["unknown-account", "position-beyond", "in-the-future"]


class ExplainedCharge(JsonAnswer):
    """What the last stay of a prospect cost. `sequence` is negative for a charge from before the ledger.

    `forfeited`: its refund came too late to be one.
    """

    sequence: int
    status: Literal["alive", "refunded", "forfeited"]
    refund_sequence: int | None


class RefundState(JsonAnswer):
    """What stands now of a prospect; `charge` None: its last stay cost nothing."""

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
    """A dead letter, with what can still be read of it."""

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
    """Dead letters of an account that were looked through, newest first, and those that are meant.

    What was `erased` cannot be told any more, and what was `left_out` is known to Kafka alone; `is_complete` False:
    there were too many to look through all.
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
    """All that is known of a prospect on an account, each list in order of occurrence.

    `is_complete` False: there were too many decisions on it, and the first are shown.
    """

    account_id: str
    prospect_id: str
    standing: RefundState | None
    decisions: list[Caused]
    parked: list[ParkedEvent]
    dead_letters: FoundLetters
    is_complete: bool


class MessageOutcome(JsonAnswer):
    """What became of one message. `other_account_id`: it was not seen on this account, but on that one."""

    account_id: str
    source: str
    id: str
    status: Literal["decided", "parked", "dead-letter", "never-seen"]
    decided: Caused | None
    parked: ParkedEvent | None
    dead_letters: FoundLetters
    other_account_id: str | None


class Explains(Protocol):
    """The ledger to those who ask why. Each answer is of one moment. Raises `LedgerUnavailable`."""

    def account(
        self, account_id: str, when: When, *, is_full: bool
    ) -> AbstractAsyncContextManager[Explanation | Unexplained]:
        """The account, explained; unless `is_full`, a bounded part of it, with the sums of what is left out."""

    async def prospect_history(self, account_id: str, prospect_id: str) -> ProspectHistory | None:
        """All that is known of the prospect; None: nothing ever named the account.

        No index has it: all decisions of the account are looked through.
        """

    async def message_outcome(self, account_id: str, source: str, event_id: str) -> MessageOutcome | None:
        """What became of the message; None: nothing ever named the account."""
