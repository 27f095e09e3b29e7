"""An explained account, prospect or message as the lines of a tree.

A line about credits begins with their number.
"""

from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from credit_contracts.outgoing import SERVICE_SOURCE

if TYPE_CHECKING:
    from credit_service.application.explain.model import (
        Caused,
        Elided,
        ExplainedDecision,
        ExplainedEntry,
        ExplainedGrant,
        ExplainedParkedEvent,
        Explanation,
        FoundLetters,
        Letter,
        MessageOutcome,
        ProspectHistory,
        Summary,
    )

BY_ITSELF = {
    "renewal": "by itself: a billing month began",
    "expiry": "by itself: a grant came to its end",
}
BY_OPENING = "by a person: brought in by `credits open`"


class Line(NamedTuple):
    """A line and its depth in the tree."""

    depth: int
    text: str


async def lines_of_account(explanation: "Explanation") -> AsyncIterator[Line]:
    """The account, its grants with their entries, its declines, and its parked events."""
    summary = explanation.summary
    yield Line(0, _head(summary))
    if summary.outcomes:
        ended = ", ".join(f"{count:,} {outcome}" for outcome, count in summary.outcomes.items())
        yield Line(1, f"decisions: {ended}")
    if (elided := summary.grants_elided) is not None:
        yield Line(1, f"{elided.remaining:,}  left of {_counted(elided.grants, 'other grant')}, which --full shows")
    entry = await anext(explanation.entries, None)
    for grant in summary.grants:
        yield Line(1, _grant(grant))
        while entry is not None and entry.grant_id == grant.grant_id:
            for line in _entry(2, entry):
                yield line
            entry = await anext(explanation.entries, None)
    if summary.without_grant is not None:
        yield Line(1, "0  on an unlimited plan, where charges and refunds take no grant")
        while entry is not None:
            for line in _entry(2, entry):
                yield line
            entry = await anext(explanation.entries, None)
    if summary.declined:
        yield Line(1, f"declined: {summary.declined:,}, since no grant had a credit left; the last one first")
        shown = 0
        async for decline in explanation.declines:
            shown += 1
            for line in _decision(2, decline):
                yield line
        if shown < summary.declined:
            yield Line(2, f"{summary.declined - shown:,} earlier ones, which --full shows")
    if summary.parked:
        yield Line(1, f"waiting for the account's first plan: {summary.parked:,}; the first one first")
        shown = 0
        async for parked in explanation.parked:
            shown += 1
            yield Line(2, _parked(parked))
        if shown < summary.parked:
            yield Line(2, f"{summary.parked - shown:,} later ones, which --full shows")


def lines_of_story(story: "ProspectHistory") -> list[Line]:
    """The prospect's state, and its events in order of occurrence."""
    lines = [Line(0, f"{story.prospect_id} on {story.account_id}: {_state(story)}")]
    events: list[tuple[datetime, list[Line]]] = [(c.decision.occurred_at, _caused(1, c)) for c in story.decisions]
    events += [(parked.occurred_at, [Line(1, _parked(parked))]) for parked in story.parked]
    events += [(letter.occurred_at, _letter(1, letter)) for letter in story.dead_letters.letters]
    events.sort(key=lambda item: item[0])
    lines += [line for _, of_one in events for line in of_one]
    if not story.is_complete:
        lines.append(Line(1, f"and more: these are the first {len(story.decisions):,} decisions on it"))
    return lines + _left_open(story.dead_letters, "it")


def lines_of_fate(fate: "MessageOutcome") -> list[Line]:
    """What became of the message: its decision, its place among parked events, or its dead letters."""
    words = {
        "decided": "was decided",
        "parked": "waits for the account's first plan",
        "dead-letter": "is a dead letter",
        "never-seen": "was never seen",
    }
    lines = [Line(0, f"{fate.source} {fate.id} of {fate.account_id}: {words[fate.status]}")]
    if fate.decided is not None:
        lines += _caused(1, fate.decided)
    if fate.parked is not None:
        lines.append(Line(1, _parked(fate.parked)))
    lines += [line for letter in fate.dead_letters.letters for line in _letter(1, letter)]
    return lines + _left_open(fate.dead_letters, "this one")


def time_text(at: datetime) -> str:
    """An instant in the form that --at accepts."""
    # strftime writes the year 1 as 1, which --at would refuse.
    return f"{at.replace(tzinfo=None).isoformat()}Z"


def _head(summary: "Summary") -> str:
    balance = (
        _counted(summary.held, "credit") if summary.balance is not None else f"unlimited, {summary.held:,} beneath"
    )
    then = f", as recorded at {time_text(summary.at)}" if summary.at is not None else ""
    if summary.first_decided_at is None:
        return f"{summary.account_id}: {balance}{then}; nothing was decided yet"
    if summary.position == 0:
        first = time_text(summary.first_decided_at)
        return f"{summary.account_id}: {balance}{then}; that is before its first decision, which was made at {first}"
    decisions, changes = _counted(summary.position, "decision"), _counted(summary.sequence, "balance change")
    return f"{summary.account_id}: {balance}{then}, after {decisions} and {changes}"


def _counted(count: int, what: str) -> str:
    return f"1 {what}" if count == 1 else f"{count:,} {what}s"


def _grant(grant: "ExplainedGrant") -> str:
    until = "never expires" if grant.expires_at is None else f"expires at {time_text(grant.expires_at)}"
    since = time_text(grant.effective_at)
    return f"{grant.remaining:,}  left of grant {grant.grant_id} ({grant.origin}), from {since}, {until}"


def _entry(depth: int, entry: "ExplainedEntry | Elided") -> Iterator[Line]:
    from credit_service.application.explain.model import Elided

    if isinstance(entry, Elided):
        yield Line(depth, f"{entry.amount:+,}  in {entry.entries:,} entries between, which --full shows")
        return
    yield Line(depth, _entry_text(entry))
    yield from _decision(depth + 1, entry.decision)


def _entry_text(entry: "ExplainedEntry") -> str:
    of = f" of {entry.decision.prospect_id}" if entry.decision.prospect_id else ""
    before, after = ("unlimited" if b is None else f"{b:,}" for b in (entry.previous_balance, entry.balance))
    beside = ""
    if entry.refunds is not None:
        gives_back = "from before the ledger" if entry.refunds.sequence < 0 else f"#{entry.refunds.sequence}"
        beside = f"; gives back the charge {gives_back}{_where(entry, entry.refunds.grant_id)}"
    if entry.refunded_by is not None:
        beside = f"; given back by #{entry.refunded_by.sequence}{_where(entry, entry.refunded_by.grant_id)}"
    if entry.charges:
        # A late delete split a stay in two, or showed that a refund belongs to another stay.
        beside += f"; the decision has {len(entry.charges)} charges: {', '.join(f'#{n}' for n in entry.charges)}"
    recorded = f"recorded at {time_text(entry.recorded_at)}"
    return f"{entry.amount:+,}  #{entry.sequence} {entry.reason}{of}, balance {before} -> {after}, {recorded}{beside}"


def _where(entry: "ExplainedEntry", grant_id: int | None) -> str:
    return "" if grant_id is None or grant_id == entry.grant_id else f" of grant {grant_id}"


def _decision(depth: int, decision: "ExplainedDecision") -> Iterator[Line]:
    of = f" of {decision.prospect_id}" if decision.prospect_id else ""
    why = f" ({decision.note})" if decision.note else ""
    if decision.declined_in_period is not None:
        until = f" to {time_text(decision.period_ends_at)}" if decision.period_ends_at else ""
        why = f", no grant had a credit left: decline {decision.declined_in_period:,} of the month{until}"
    if decision.outcome == "too-late":
        why = ", without effect: the prospect has had more reports since than are kept, and that time is closed"
    yield Line(
        depth,
        f"decision {decision.position} at {time_text(decision.decided_at)}: {decision.type}{of}, "
        f"{decision.outcome}{why}",
    )
    yield Line(depth + 1, _cause(decision))


def _cause(decision: "ExplainedDecision") -> str:
    at = time_text(decision.occurred_at)
    if (place := decision.place) is not None:
        lies = f"{place.topic}, partition {place.partition}, offset {place.offset}"
        return f"message {decision.id} from {decision.source}, of {at}: {lies}"
    how = BY_ITSELF.get(decision.type)
    if decision.by is not None:
        how = f"by {decision.by.operator}: {decision.by.reason}"
    elif decision.type == "opening":
        how = BY_OPENING
    if decision.source == SERVICE_SOURCE:
        return f"no message, {how or 'by a person'} at {at} ({decision.id})"
    return f"message {decision.id} from {decision.source}, of {at}: its place was not kept"


def _parked(parked: "ExplainedParkedEvent") -> str:
    of = f" of {parked.prospect_id}" if parked.prospect_id else ""
    lies = f"{parked.place.topic}, partition {parked.place.partition}, offset {parked.place.offset}"
    return (
        f"parked at {time_text(parked.parked_at)}: {parked.type}{of}; message {parked.id} from {parked.source}, of "
        f"{time_text(parked.occurred_at)}: {lies}"
    )


def _caused(depth: int, caused: "Caused") -> list[Line]:
    lines = list(_decision(depth, caused.decision))
    lines += [Line(depth + 1, _entry_text(entry)) for entry in caused.entries]
    if (request := caused.request) is not None:
        ended = "waits for a person"
        if request.status != "waiting" and request.decided_at is not None:
            by = f" by {request.by.operator}: {request.by.reason}" if request.by else ": it was given back before"
            ended = f"{request.status} at {time_text(request.decided_at)}{by}"
        of = "from before the ledger" if request.charge_sequence < 0 else f"#{request.charge_sequence}"
        lines.append(Line(depth + 1, f"asks for the refund of the charge {of}: {ended}"))
    return lines


def _letter(depth: int, letter: "Letter") -> list[Line]:
    ended: str = letter.status
    if letter.ended_at is not None and letter.by is not None:
        came_to = f" ({letter.outcome})" if letter.outcome else ""
        why = f": {letter.by.reason}" if letter.by.reason else ""
        ended = f"{letter.status}{came_to} at {time_text(letter.ended_at)} by {letter.by.operator}{why}"
    lies = f"{letter.place.topic}, partition {letter.place.partition}, offset {letter.place.offset}"
    named = f"message {letter.id} from {letter.source}" if letter.id and letter.source else "message without a name"
    return [
        Line(depth, f"dead letter {letter.dead_letter_id}, {letter.reason}: {letter.detail}; {ended}"),
        Line(depth + 1, f"{named}, of {time_text(letter.occurred_at)}: {lies}"),
    ]


def _left_open(letters: "FoundLetters", what: str) -> list[Line]:
    lines = []
    if letters.erased:
        count = _counted(letters.erased, "dead letter")
        lines.append(Line(1, f"{count} of the account had the bytes erased: it is unknown whether of {what}"))
    if letters.left_out:
        count = _counted(letters.left_out, "dead letter")
        lines.append(Line(1, f"{count} of the account kept without the bytes: only Kafka shows whether of {what}"))
    if not letters.is_complete:
        lines.append(Line(1, "there are more dead letters of the account than could be looked through"))
    return lines


def _state(story: "ProspectHistory") -> str:
    state = story.standing
    if state is None:
        return "nothing is known of it" if not (story.decisions or story.parked) else "not on the account"
    if state.origin is None:
        return "not on the account"
    where = "on the account" if state.on_account else "not on the account any more"
    charge = state.charge
    if charge is None:
        return f"{where}, {state.origin}, at no cost"
    what = "its charge from before the ledger" if charge.sequence < 0 else f"its charge #{charge.sequence}"
    ended = {
        "alive": "is in force",
        "refunded": f"was given back by #{charge.refund_sequence}",
        "forfeited": "is not given back, since its grant had ended",
    }
    return f"{where}, {state.origin}; {what} {ended[charge.status]}"
