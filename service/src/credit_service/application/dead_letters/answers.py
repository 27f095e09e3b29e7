"""The answers to an operator: the result for each letter."""

from collections.abc import Sequence

from credit_service.application.dead_letters.model import LetterAnswer, LetterState, LetterStore
from credit_service.application.processing.reasons import detail_of
from credit_service.domain.decided import Decided
from credit_service.domain.event import Incoming


def failed(dead_letter_id: int, reason: str, detail: str) -> LetterAnswer:
    """The answer of a letter that waits on, with the reason."""
    return LetterAnswer(dead_letter_id=dead_letter_id, became="failed", reason=reason, detail=detail)


def answers_of(events: Sequence[tuple[int, Incoming]], decided: Decided) -> list[LetterAnswer]:
    """The answer of each event: its own decision, or that it is refused, parked or a duplicate."""
    refused = {id(one.incoming): one for one in decided.refused}
    parked = {id(event) for event in decided.parked}
    # Of two letters with one key the first is decided; what waited elsewhere is decided under its own place.
    outcomes = {(d.account_id, d.key, d.place): d.outcome for d in decided.decisions}
    answers = []
    for dead_letter_id, event in events:
        if id(event) in refused:
            refusal = refused[id(event)]
            answers.append(failed(dead_letter_id, refusal.reason, detail_of(refusal)))
            continue
        outcome: str | None = "parked" if id(event) in parked else None
        outcome = outcome or outcomes.pop((event.account_id, event.key, event.place), "duplicate")
        answers.append(LetterAnswer(dead_letter_id=dead_letter_id, became="resolved", outcome=outcome))
    return answers


async def answers_before(store: LetterStore, ids: Sequence[int]) -> list[LetterAnswer]:
    """The answers of letters that do not wait: how each was ended before."""
    if not ids:
        return []
    states = await store.states(ids)
    return [_answer_before(i, states.get(i)) for i in ids]


def _answer_before(dead_letter_id: int, state: LetterState | None) -> LetterAnswer:
    if state is None:
        return LetterAnswer(dead_letter_id=dead_letter_id, became="unknown")
    if state.status == "resolved":
        return LetterAnswer(dead_letter_id=dead_letter_id, became="resolved-before", outcome=state.outcome)
    if state.status == "discarded":
        return LetterAnswer(dead_letter_id=dead_letter_id, became="discarded-before")
    # It came back to wait just now.
    return LetterAnswer(dead_letter_id=dead_letter_id, became="failed", detail="it has just come back")
