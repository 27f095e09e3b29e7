"""For consumers: which events of an account are new, and which are missing."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Final, TypeAlias

from pydantic import BaseModel, ConfigDict
from pydantic_core import to_json

from credit_contracts.envelope import Event
from credit_contracts.outgoing import BalanceChanged, OutgoingData, declined_position

# Bounds of the memory for one account; the README describes their effect.
RECENT_MAX: Final = 32
MISSING_MAX: Final = 16


@dataclass(frozen=True, slots=True)
class Place:
    """The position of a record in Kafka."""

    topic: str
    partition: int
    offset: int

    def is_before(self, other: "Place") -> bool:
        """Whether it is before `other` or equal; False for another partition."""
        return (self.topic, self.partition) == (other.topic, other.partition) and self.offset <= other.offset


@dataclass(frozen=True, slots=True)
class Missing:
    """The balance changes `first` to `last` of an account are missing.

    Read again from `after`, the last record before them; None if no record of the account was read before.
    """

    first: int
    last: int
    after: Place | None


@dataclass(frozen=True, slots=True)
class InOrder:
    """New, and the next one."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """Not new: it was taken before."""


@dataclass(frozen=True, slots=True)
class Joined:
    """New, and the first event that is read of an account with a longer history: `missing` are the earlier ones."""

    missing: Missing


@dataclass(frozen=True, slots=True)
class Gap:
    """New, but events before it are `missing`.

    `forgotten` is the oldest gap, if there are too many to remember: its events then count as `Repeat`.
    """

    missing: Missing
    forgotten: Missing | None


@dataclass(frozen=True, slots=True)
class Late:
    """New, but later events of the account were taken before it.

    `forgotten` as in `Gap`.
    """

    forgotten: Missing | None


@dataclass(frozen=True, slots=True)
class Rewritten:
    """New, but its number was taken by another event.

    The credit service was restored from a backup, and its history took another course. The last `void` changes taken
    before are no longer valid.
    """

    void: int


Verdict: TypeAlias = InOrder | Repeat | Joined | Gap | Late | Rewritten


class Track(BaseModel):
    """The numbers taken of one kind of event: the newest, its place, and digests of the last few.

    After a rewriting, records up to `void_until` with the numbers `void_first` to `void_last` are void.
    """

    model_config = ConfigDict(frozen=True)

    newest: int = 0
    at: Place | None = None
    recent: dict[int, str] = {}
    void_first: int = 0
    void_last: int = 0
    void_until: Place | None = None

    def taken(self, number: int, digest: str, at: Place) -> "Track":
        """Return the track with one more number."""
        recent = self.recent | {number: digest}
        if len(recent) > RECENT_MAX:
            del recent[min(recent)]
        if number < self.newest:
            return self._with(recent=recent)
        return self._with(newest=number, at=at, recent=recent)

    def rewritten(self, number: int, digest: str, at: Place) -> "Track":
        """Return the track with a new event for this number, and without the numbers after it."""
        recent = {known: before for known, before in self.recent.items() if known < number} | {number: digest}
        last = max(self.newest, self.void_last)
        return self._with(newest=number, at=at, recent=recent, void_first=number, void_last=last, void_until=at)

    def is_ahead(self, number: int, at: Place) -> bool:
        """Whether a number is beyond the newest, and its record is not void."""
        return number > self.newest and not self._lies_behind(number, at)

    def has_other_event(self, number: int, digest: str, at: Place) -> bool:
        """Whether a number now has another event; a void record that is read again does not count."""
        return self.recent.get(number, digest) != digest and not self._lies_behind(number, at)

    def is_void(self, number: int, at: Place) -> bool:
        """Whether a record that was not taken before belongs to the void history."""
        return number >= self.void_first and self._lies_behind(number, at)

    def _lies_behind(self, number: int, at: Place) -> bool:
        # Only a rewriting makes places void, and only for its numbers: offsets restart when a topic is recreated.
        return self.void_until is not None and number <= self.void_last and at.is_before(self.void_until)

    def _with(self, **changes: object) -> "Track":
        return self.model_copy(update=changes)


class SequenceGuard(BaseModel):
    """The events taken of one account.

    It is immutable: `take` returns the guard to store, in the same transaction as the effect of the event.
    `model_dump_json` and `model_validate_json` write and read it.
    """

    model_config = ConfigDict(frozen=True)

    account_id: str
    changes: Track = Track()
    declines: Track = Track()
    missing: tuple[Missing, ...] = ()

    def take(self, event: Event[OutgoingData], at: Place) -> tuple[Verdict, "SequenceGuard"]:
        """Judge an event of this account; everything but a `Repeat` is new."""
        data = event.data
        if data.account_id != self.account_id:
            raise ValueError("account_id: the guard is another account's")
        if isinstance(data, BalanceChanged):
            digest = _digest(data.balance, data.delta, data.reason, data.cause.source, data.cause.id)
            return self._change(data.sequence, digest, at)
        return self._decline(declined_position(event.id), _digest(data.cause.source, data.cause.id), at)

    def _change(self, sequence: int, digest: str, at: Place) -> tuple[Verdict, "SequenceGuard"]:
        if self.changes.is_ahead(sequence, at):
            return self._ahead(sequence, digest, at)
        is_missing = any(gap.first <= sequence <= gap.last for gap in self.missing)
        if is_missing and not self.changes.is_void(sequence, at):
            missing, forgotten = _bounded(rest for gap in self.missing for rest in _without(gap, sequence))
            return Late(forgotten), self._with(changes=self.changes.taken(sequence, digest, at), missing=missing)
        if self.changes.has_other_event(sequence, digest, at):
            changes = self.changes.rewritten(sequence, digest, at)
            missing = tuple(gap for gap in self.missing if gap.last < sequence)
            return Rewritten(self.changes.newest - sequence + 1), self._with(changes=changes, missing=missing)
        return Repeat(), self

    def _ahead(self, sequence: int, digest: str, at: Place) -> tuple[Verdict, "SequenceGuard"]:
        changes = self.changes.taken(sequence, digest, at)
        if sequence == self.changes.newest + 1:
            return InOrder(), self._with(changes=changes)
        gap = Missing(self.changes.newest + 1, sequence - 1, self.changes.at)
        missing, forgotten = _bounded((*self.missing, gap))
        verdict = Joined(gap) if gap.after is None else Gap(gap, forgotten)
        return verdict, self._with(changes=changes, missing=missing)

    def _decline(self, position: int, digest: str, at: Place) -> tuple[Verdict, "SequenceGuard"]:
        """Judge a decline: its positions have gaps, so repeats can be recognised, and missing declines cannot."""
        declines = self.declines
        if declines.is_ahead(position, at):
            return InOrder(), self._with(declines=declines.taken(position, digest, at))
        if declines.has_other_event(position, digest, at):
            void = sum(known >= position for known in declines.recent)
            return Rewritten(void), self._with(declines=declines.rewritten(position, digest, at))
        is_remembered = len(declines.recent) < RECENT_MAX or position > min(declines.recent)
        is_new = position not in declines.recent and not declines.is_void(position, at)
        if position < declines.newest and is_new and is_remembered:
            return Late(None), self._with(declines=declines.taken(position, digest, at))
        return Repeat(), self

    def _with(
        self, changes: Track | None = None, declines: Track | None = None, missing: tuple[Missing, ...] | None = None
    ) -> "SequenceGuard":
        return SequenceGuard(
            account_id=self.account_id,
            changes=changes or self.changes,
            declines=declines or self.declines,
            missing=self.missing if missing is None else missing,
        )


def _without(gap: Missing, sequence: int) -> list[Missing]:
    if not gap.first <= sequence <= gap.last:
        return [gap]
    parts = replace(gap, last=sequence - 1), replace(gap, first=sequence + 1)
    return [part for part in parts if part.first <= part.last]


def _bounded(missing: Iterable[Missing]) -> tuple[tuple[Missing, ...], Missing | None]:
    """The gaps to remember, and the oldest one if it is one too many."""
    gaps = tuple(missing)
    return gaps[-MISSING_MAX:], gaps[0] if len(gaps) > MISSING_MAX else None


def _digest(*digest: object) -> str:
    return blake2b(to_json(digest), digest_size=4).hexdigest()
