"""Where what is recorded of an account and what the rules make of it disagree, each told once."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from credit_service.domain.audit.recompute import History, Recomputed, has_same_effect, recompute, sums
from credit_service.domain.decision import Change, Decision
from credit_service.domain.event import Incoming
from credit_service.domain.rules import Rules

DifferenceKind = Literal[
    "decision-missing",
    "decision-extra",
    "decision-differs",
    "entry-missing",
    "entry-extra",
    "entry-differs",
    "balance-differs",
    "grant-differs",
    "account-differs",
    "not-recomputed",
]


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that disagrees. `number` is the position, sequence or grant that it is about; 0: the account.

    `is_derived`: it is a sum of entries that all agree, and can be made anew from them.
    """

    kind: DifferenceKind
    number: int
    told: str
    is_derived: bool = False


def compared(
    history: History, rules: Rules, found: Mapping[int, Incoming] | None = None
) -> tuple[Recomputed, list[Difference]]:
    """What the rules make of a history, and where it disagrees: as little as may be, where the ledger does not say all.

    `found` are the messages of decisions that are missing, by position.
    """
    recomputed = recompute(history, rules, found)
    disagree = differences(history, recomputed)
    if disagree and any(decision.outcome == "plan-pending" for decision in history.decisions.values()):
        other = recompute(history, rules, found, eagerly=True)
        otherwise = differences(history, other)
        if len(otherwise) < len(disagree):
            return other, otherwise
    return recomputed, disagree


def differences(history: History, recomputed: Recomputed) -> list[Difference]:
    """All of them; after the first decision or entry that says something else, what follows from it is not told.

    A missing decision or entry is named with what should be there. Only once these agree are the balance and the
    grants held against the rules: else they would tell the same once more.
    """
    found = [*_decisions(history, recomputed), *_entries(history, recomputed)]
    if recomputed.stopped_at is not None:
        at = recomputed.stopped_at
        if at in history.decisions:
            told = f"from position {at} on the rules do not come to what is recorded"
            found.append(Difference("not-recomputed", at, told))
        else:
            found.append(
                Difference("decision-missing", at, "what it was cannot be told; from here on nothing is recomputed")
            )
    if recomputed.stopped_at is None and not any(d.kind.endswith("-differs") for d in found):
        found += _standing(history, recomputed)
    elif not any(d.kind.startswith("entry") for d in found):
        found += [Difference("balance-differs", 0, told) for told in sums(history)]
    return found


def _decisions(history: History, recomputed: Recomputed) -> Iterator[Difference]:
    until = recomputed.stopped_at or max([0, *history.decisions, *recomputed.decisions]) + 1
    for position in range(1, until):
        recorded, made = history.decisions.get(position), recomputed.decisions.get(position)
        if recorded is None and made is not None:
            yield Difference("decision-missing", position, f"{made.type} {made.source} {made.id}: {made.outcome}")
        elif recorded is not None and made is None:
            yield Difference("decision-extra", position, f"{recorded.type} {recorded.source} {recorded.id}")
        elif recorded is not None and made is not None and (told := _other_decision(recorded, made)):
            yield Difference("decision-differs", position, told)
            return


def _other_decision(recorded: Decision, made: Decision) -> str:
    names = ["type", "id", "outcome", "occurred_at", "declined_in_period", "period_ends_at"]
    # A plan's note tells of what it said beyond what the ledger keeps of it.
    names += [] if recorded.type == "plan-changed" else ["note"]
    return _told(names, recorded, made)


def _told(names: list[str], recorded: object, made: object) -> str:
    return "; ".join(
        f"{name} is {getattr(recorded, name)}, and by the rules {getattr(made, name)}"
        for name in names
        if getattr(recorded, name) != getattr(made, name)
    )


def _entries(history: History, recomputed: Recomputed) -> Iterator[Difference]:
    until = max(recomputed.changes, default=0)
    if recomputed.stopped_at is None:
        until = max([until, *history.changes])
    for sequence in range(1, until + 1):
        recorded, made = history.changes.get(sequence), recomputed.changes.get(sequence)
        if recorded is None and made is not None:
            yield Difference("entry-missing", sequence, _told_change(made))
        elif recorded is not None and made is None:
            yield Difference("entry-extra", sequence, _told_change(recorded))
        elif recorded is not None and made is not None and not has_same_effect(recorded, made):
            yield Difference("entry-differs", sequence, _other_change(recorded, made))
            return


def _told_change(change: Change) -> str:
    return f"{change.reason} {change.delta:+} at position {change.cause.position}"


def _other_change(recorded: Change, made: Change) -> str:
    names = "reason previous_balance balance refunds_sequence period_ends_at occurred_at recorded_at".split()
    told = [_told(names, recorded, made)]
    if list(recorded.lines) != list(made.lines):
        told.append(f"amounts by grant are {_lines(recorded)}, and by the rules {_lines(made)}")
    if recorded.cause.position != made.cause.position:
        told.append(f"position is {recorded.cause.position}, and by the rules {made.cause.position}")
    return "; ".join(filter(None, told))


def _lines(change: Change) -> str:
    return ", ".join(f"{grant_id}: {amount:+}" for grant_id, amount in change.lines) or "none"


def _standing(history: History, recomputed: Recomputed) -> Iterator[Difference]:
    standing, account = history.standing, recomputed.account
    if standing.balance != account.balance:
        told = f"the account's row says {standing.balance}, and its entries {account.balance}"
        yield Difference("balance-differs", 0, told, is_derived=True)
    made = {
        "unlimited": account.unlimited,
        "sequence": account.sequence,
        "position": account.position,
        "last_grant_id": account.last_grant_id,
        "plan_position": account.plan_position,
        "period_number": account.period.number if account.period else None,
        "granted_in_period": account.granted_in_period,
        "declined_in_period": account.declined_in_period,
        "next_timer_at": account.next_timer_at,
    }
    others = [
        f"{name} is {getattr(standing, name)}, and by the rules {value}"
        for name, value in made.items()
        if getattr(standing, name) != value
    ]
    if others:
        yield Difference("account-differs", 0, "; ".join(others))
    for grant_id in sorted({*history.grants, *recomputed.grants}):
        kept, by_rules = history.grants.get(grant_id), recomputed.grants.get(grant_id)
        if kept is None or by_rules is None:
            yield Difference("grant-differs", grant_id, "is missing" if kept is None else "is of no decision")
        elif kept != by_rules:
            names = "origin amount remaining effective_at expires_at position is_open".split()
            is_derived = replace(kept, remaining=by_rules.remaining) == by_rules
            yield Difference("grant-differs", grant_id, _told(names, kept, by_rules), is_derived=is_derived)
