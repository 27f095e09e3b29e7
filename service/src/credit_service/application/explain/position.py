"""The place of a decision among the balance changes of its account: which were recorded before it, and which after.

An entry names the decision that caused it, and is not always recorded with it: an announced plan takes effect at its
own time; an event of a prospect may have an effect only with a later event of the prospect; a late delete lets a stay
be charged under the event that began it. So the state after decision N is not that of the entries whose position is at
most N. It follows from the order of recording:

- Sequences and positions have no gaps and are given under the account's lock, so both are in the order of recording.
- A batch is recorded at one time: its decisions and its entries have the same one. Those with an earlier time than
  decision N came before it, and those with a later time after it.
- Within N's own batch the changes are taken by their sequences. An entry that was recorded with its cause shows that
  the ledger had reached that decision. An entry that was recorded later belongs to the decision that triggered it: the
  next one on the same prospect; for a plan, the first one at or past its instant.

The state after decision N is the sum of the entries up to the last such sequence. One thing is not recorded: which of
several decisions on one prospect, in one batch, triggered a late entry. The first possible one is taken.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from credit_service.domain.prospect import BOUNCED, DELETED

TRANSFERRED = "prospect-transferred"
IDLE = ("free", "declined", "too-late")
"""Outcomes of decisions that change the effect of no earlier event."""


@dataclass(frozen=True, slots=True)
class BatchDecision:
    """A decision of the batch."""

    position: int
    type: str
    outcome: str
    occurred_at: datetime
    prospect_id: bytes | None


@dataclass(frozen=True, slots=True)
class BatchChange:
    """A balance change of the batch, with the decision that caused it, of whichever batch that was."""

    sequence: int
    reason: str
    occurred_at: datetime
    cause: BatchDecision


def last_sequence(
    decisions: Sequence[BatchDecision], changes: Sequence[BatchChange], position: int, sequence_before: int
) -> int:
    """The last sequence that was recorded when the batch had reached `position`.

    `decisions` and `changes` are those of the batch in their order, `sequence_before` the last one before it.
    """
    last = sequence_before
    walk = _Walk(decisions)
    for change in changes:
        if walk.position_at(change) > position:
            break
        last = change.sequence
    return last


class _Walk:
    """Goes through the changes of a batch, and keeps the position that it has reached."""

    def __init__(self, decisions: Sequence[BatchDecision]) -> None:
        self._decisions = {decision.position: decision for decision in decisions}
        self._position = decisions[0].position - 1 if decisions else 0
        self._on_prospect: dict[bytes | None, list[BatchDecision]] = defaultdict(list)
        for decision in decisions:
            if decision.outcome not in IDLE and decision.type != TRANSFERRED:
                self._on_prospect[decision.prospect_id].append(decision)
        self._charged: set[int] = set()
        self._refunded: set[int] = set()

    def position_at(self, change: BatchChange) -> int:
        """The position that the ledger had reached when it recorded the change."""
        if self._is_direct(change):
            self._position = max(self._position, change.cause.position)
        elif change.reason == "plan_change":
            self._skip_to_plan(change)
        else:
            self._skip_to_trigger(change)
        return self._position

    def _is_direct(self, change: BatchChange) -> bool:
        """Whether it was recorded with its cause."""
        cause = change.cause
        if cause.position not in self._decisions:
            return False
        match change.reason:
            case "charge":
                is_first = cause.position not in self._charged
                self._charged.add(cause.position)
                return is_first and cause.outcome == "charged"
            case "refund" if cause.type == BOUNCED:
                is_first = cause.position not in self._refunded
                self._refunded.add(cause.position)
                return is_first and cause.outcome == "refunded"
            case "plan_change":
                return change.occurred_at == cause.occurred_at
        return True

    def _skip_to_plan(self, change: BatchChange) -> None:
        """Moves to the first decision at or past the plan's instant; without one, a timer ran behind all of them."""
        after = max(self._position, change.cause.position + 1)
        due = (p for p, d in self._decisions.items() if p >= after and d.occurred_at >= change.occurred_at)
        self._position = next(due, max(self._decisions, default=self._position))

    def _skip_to_trigger(self, change: BatchChange) -> None:
        """Moves to the next decision on the same prospect that may have had an effect; without one, it stays."""
        after = max(self._position, change.cause.position + 1)
        triggers = [d for d in self._on_prospect[change.cause.prospect_id] if d.position >= after]
        if change.reason == "charge":
            # A stay is charged late by a delete: the first time by one that is before the event that began the stay.
            deletes = [d for d in triggers if d.type == DELETED]
            parting = [d for d in deletes if d.occurred_at <= change.occurred_at]
            is_anew = change.cause.outcome == "charged"
            triggers = (deletes if is_anew else parting) or deletes or triggers
        if triggers:
            self._position = triggers[0].position
