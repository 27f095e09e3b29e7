"""Compares the ledger of one account with the rules, and fills its gaps with missing messages."""

from collections.abc import Mapping, Sequence

from credit_service import bounds
from credit_service.application.reconcile.findings import Finding, RepairAction
from credit_service.domain.audit.differences import Difference, compared
from credit_service.domain.audit.history import History, is_time_known, positions_missing
from credit_service.domain.audit.recompute import Recomputed
from credit_service.domain.decision import Decision
from credit_service.domain.event import Incoming
from credit_service.domain.rules import Rules


def recompute(
    history: History, rules: Rules, messages: Mapping[int, Incoming] | None = None
) -> tuple[Recomputed | None, list[Difference]]:
    """The account as the rules make it, with what differs; `messages` fill its gaps, by their positions."""
    try:
        return compared(history, rules, messages)
    except Exception as error:
        message = f"the rules fail on what is recorded: {type(error).__name__}"
        return None, [Difference("not-recomputed", next(positions_missing(history), 0), message)]


def fill_gaps(
    history: History, rules: Rules, missing: Sequence[Finding]
) -> tuple[list[Finding], Recomputed | None, list[Difference]]:
    """Tries missing messages in the account's gaps; the ones that fill none, and what differs with the others."""
    left = list(missing)
    recomputed, found = recompute(history, rules)
    if not found:
        return left, recomputed, found
    filled: dict[int, Incoming] = {}
    for position in list(positions_missing(history))[: bounds.FOUND_TRIES_MAX]:
        if recomputed is not None and position in recomputed.decisions:
            continue
        for candidate in left[: bounds.FOUND_TRIES_MAX]:
            if candidate.record is None or not isinstance(candidate.record.content, Incoming):
                continue
            trial, differing = recompute(history, rules, filled | {position: candidate.record.content})
            if trial is not None and not any(d.kind != "decision-missing" for d in differing):
                filled[position] = candidate.record.content
                left.remove(candidate)
                recomputed, found = trial, differing
                break
    return left, recomputed, found


def gone_of(found: Sequence[Difference]) -> dict[bool, set[int]]:
    """The numbers of changes (False) and of decisions (True) that the ledger misses."""
    return {
        False: {difference.number for difference in found if difference.kind == "entry-missing"},
        True: {difference.number for difference in found if difference.kind == "decision-missing"},
    }


def findings_of(history: History, found: Sequence[Difference], recomputed: Recomputed | None = None) -> list[Finding]:
    """The findings of what differs, with what may be done about each."""
    is_restorable = all(difference.kind == "decision-missing" for difference in found)
    is_derived = all(difference.is_derived for difference in found)
    findings = []
    for difference in found:
        action: RepairAction = "person"
        decision = None
        if difference.kind == "decision-missing":
            decision = recomputed.decisions.get(difference.number) if recomputed else None
            if is_restorable and decision is not None and _is_certain(history, decision):
                action = "restore"
        elif difference.kind != "entry-missing" and is_derived:
            action = "recount"
        subject = _subject(history.account_id, difference)
        findings.append(
            Finding(difference.kind, history.account_id, subject, difference.detail, action, decision=decision)
        )
    return findings


def _is_certain(history: History, decision: Decision) -> bool:
    """Whether nothing but the ledger has the decision's time: that of a decline was published."""
    return decision.outcome != "declined" or is_time_known(history, decision.position)


def _subject(account_id: str, difference: Difference) -> str:
    if difference.kind.startswith("entry"):
        return f"{account_id}:{difference.number}"
    if difference.kind == "grant-differs":
        return f"{account_id}, grant {difference.number}"
    if difference.number == 0:
        return account_id
    return f"{account_id}, position {difference.number}"
