"""Compares the recorded history of an account with its replay, and names each difference once."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from credit_service.domain.audit.history import History, sums
from credit_service.domain.audit.recompute import Recomputed, recompute
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
    """One difference. `number` is the position, sequence or grant that it is about; 0 is the account.

    `is_derived`: only a sum is wrong, and the entries, which all agree, restore it.
    """

    kind: DifferenceKind
    number: int
    detail: str
    is_derived: bool = False


def compared(
    history: History, rules: Rules, found: Mapping[int, Incoming] | None = None
) -> tuple[Recomputed, list[Difference]]:
    """The replay of a history, and its differences. `found` are the messages of missing decisions, by position.

    Where the ledger does not record when a pending plan took effect, the replay with fewer differences counts.
    """
    recomputed = recompute(history, rules, found)
    found_differences = differences(history, recomputed)
    if found_differences and any(decision.outcome == "plan-pending" for decision in history.decisions.values()):
        eager = recompute(history, rules, found, eagerly=True)
        eager_differences = differences(history, eager)
        if len(eager_differences) < len(found_differences):
            return eager, eager_differences
    return recomputed, found_differences


def differences(history: History, recomputed: Recomputed) -> list[Difference]:
    """All differences up to the first decision or entry that has other content: the ones after it follow from it.

    A missing decision or entry is named with its expected content. The account's row and grants are compared only if
    the decisions and entries agree: otherwise they would repeat the same difference.
    """
    found = [*_decisions(history, recomputed), *_entries(history, recomputed)]
    if recomputed.stopped_at is not None:
        at = recomputed.stopped_at
        if at in history.decisions:
            detail = f"from position {at} on the rules do not come to what is recorded"
            found.append(Difference("not-recomputed", at, detail))
        else:
            found.append(
                Difference("decision-missing", at, "its content is unknown; nothing is recomputed from here on")
            )
    if recomputed.stopped_at is None and not any(d.kind.endswith("-differs") for d in found):
        found += _row_and_grants(history, recomputed)
    elif not any(d.kind.startswith("entry") for d in found):
        found += [Difference("balance-differs", 0, detail) for detail in sums(history)]
    return found


def _decisions(history: History, recomputed: Recomputed) -> Iterator[Difference]:
    until = recomputed.stopped_at or max([0, *history.decisions, *recomputed.decisions]) + 1
    for position in range(1, until):
        recorded, made = history.decisions.get(position), recomputed.decisions.get(position)
        if recorded is None and made is not None:
            yield Difference("decision-missing", position, f"{made.type} {made.source} {made.id}: {made.outcome}")
        elif recorded is not None and made is None:
            yield Difference("decision-extra", position, f"{recorded.type} {recorded.source} {recorded.id}")
        elif recorded is not None and made is not None and (detail := _other_decision(recorded, made)):
            yield Difference("decision-differs", position, detail)
            return


def _other_decision(recorded: Decision, made: Decision) -> str:
    names = ["type", "id", "outcome", "occurred_at", "declined_in_period", "period_ends_at"]
    # A plan's note may come from fields of the event that the ledger does not keep.
    names += [] if recorded.type == "plan-changed" else ["note"]
    return _field_differences(names, recorded, made)


def _field_differences(names: list[str], recorded: object, made: object) -> str:
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
            yield Difference("entry-missing", sequence, _entry_text(made))
        elif recorded is not None and made is None:
            yield Difference("entry-extra", sequence, _entry_text(recorded))
        elif recorded is not None and made is not None and not has_same_effect(recorded, made):
            yield Difference("entry-differs", sequence, _other_change(recorded, made))
            return


def _entry_text(change: Change) -> str:
    return f"{change.reason} {change.delta:+} at position {change.cause.position}"


def _other_change(recorded: Change, made: Change) -> str:
    names = "reason previous_balance balance refunds_sequence period_ends_at occurred_at recorded_at".split()
    texts = [_field_differences(names, recorded, made)]
    if list(recorded.lines) != list(made.lines):
        texts.append(f"amounts by grant are {_lines(recorded)}, and by the rules {_lines(made)}")
    if recorded.cause.position != made.cause.position:
        texts.append(f"position is {recorded.cause.position}, and by the rules {made.cause.position}")
    return "; ".join(filter(None, texts))


def _lines(change: Change) -> str:
    return ", ".join(f"{grant_id}: {amount:+}" for grant_id, amount in change.lines) or "none"


def _row_and_grants(history: History, recomputed: Recomputed) -> Iterator[Difference]:
    row, account = history.row, recomputed.account
    if row.balance != account.balance:
        detail = f"the account's row says {row.balance}, and its entries {account.balance}"
        yield Difference("balance-differs", 0, detail, is_derived=True)
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
        f"{name} is {getattr(row, name)}, and by the rules {value}"
        for name, value in made.items()
        if getattr(row, name) != value
    ]
    if others:
        yield Difference("account-differs", 0, "; ".join(others))
    for grant_id in sorted({*history.grants, *recomputed.grants}):
        kept, by_rules = history.grants.get(grant_id), recomputed.grants.get(grant_id)
        if kept is None or by_rules is None:
            yield Difference("grant-differs", grant_id, "is missing" if kept is None else "belongs to no decision")
        elif kept != by_rules:
            names = "origin amount remaining effective_at expires_at position is_open".split()
            is_derived = replace(kept, remaining=by_rules.remaining) == by_rules
            yield Difference(
                "grant-differs", grant_id, _field_differences(names, kept, by_rules), is_derived=is_derived
            )


def has_same_effect(one: Change, other: Change) -> bool:
    """Whether two balance changes say the same to the ledger and to others."""
    return _effect(one) == _effect(other)


def _effect(change: Change) -> tuple[object, ...]:
    return (
        change.sequence,
        list(change.lines),
        change.previous_balance,
        change.balance,
        change.reason,
        change.cause.position,
        change.refunds_sequence,
        change.period_ends_at,
        change.occurred_at,
        change.recorded_at,
    )
