"""The outcome of one prospect or one message: decisions, parked events and dead letters."""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from credit_service import bounds
from credit_service.application.explain.letters import names_prospect
from credit_service.application.explain.model import (
    Caused,
    ExplainedCharge,
    ExplainedDecision,
    ExplainedEntry,
    FoundLetters,
    Letter,
    MessageOutcome,
    ProspectHistory,
    RefundState,
)
from credit_service.domain.idempotency import key_of
from credit_service.postgres.explain.as_of import TICK
from credit_service.postgres.explain.rows import RowReader, letter_of, request_of
from credit_service.postgres.ids import packed, unpacked
from credit_service.postgres.ledger.prospect_row import cause_of, from_columns
from credit_service.postgres.reads.export import blocks

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg

    from credit_service.postgres.explain.snapshot import SnapshotReader


class OutcomeReader:
    """Reads outcomes within one snapshot."""

    def __init__(self, reader: "SnapshotReader", rows: RowReader) -> None:
        self._snapshot = reader
        self._rows = rows

    async def prospect_history(self, account_id: str, prospect_id: str) -> ProspectHistory | None:
        """See `application.explain.model.Explains`."""
        account = await self._snapshot.one("explain_account", account_id)
        letters = await self._letters(account_id, lambda row, _: names_prospect(row["value"], prospect_id))
        if account is None:
            if not letters.letters and not letters.erased and not letters.left_out:
                return None
            return ProspectHistory(
                account_id=account_id,
                prospect_id=prospect_id,
                standing=None,
                decisions=[],
                parked=[],
                dead_letters=letters,
                is_complete=True,
            )
        number = account["account_no"]
        rows = await self._snapshot.all(
            "explain_prospect_decisions", number, packed(prospect_id), bounds.DECISIONS_OF_A_PROSPECT_MAX + 1
        )
        decisions = [self._rows.decision(row) for row in rows[: bounds.DECISIONS_OF_A_PROSPECT_MAX]]
        caused = await self._caused(number, account["sequence"], decisions)
        waiting = await self._snapshot.all("explain_parked_events", number, account["now"], None)
        parked = [self._rows.parked(row) for row in waiting]
        return ProspectHistory(
            account_id=account_id,
            prospect_id=prospect_id,
            standing=await self._standing(number, prospect_id),
            decisions=sorted(caused, key=lambda c: (c.decision.occurred_at, c.decision.position)),
            parked=[event for event in parked if event.prospect_id == prospect_id],
            dead_letters=letters,
            is_complete=len(rows) <= bounds.DECISIONS_OF_A_PROSPECT_MAX,
        )

    async def message_outcome(self, account_id: str, source: str, event_id: str) -> MessageOutcome | None:
        """See `application.explain.model.Explains`."""
        account = await self._snapshot.one("explain_account", account_id)
        letters = await self._letters(account_id, lambda _, letter: (letter.source, letter.id) == (source, event_id))
        key = key_of(source, event_id)
        decided = parked = None
        if account is not None:
            number = account["account_no"]
            if (row := await self._snapshot.one("explain_decision", number, key)) is not None:
                (decided,) = await self._caused(number, account["sequence"], [self._rows.decision(row)])
            if (row := await self._snapshot.one("explain_parked_event", number, key)) is not None:
                parked = self._rows.parked(row)
        elif not letters.letters and not letters.erased and not letters.left_out:
            return None
        is_seen = decided or parked or letters.letters
        return MessageOutcome(
            account_id=account_id,
            source=source,
            id=event_id,
            status="decided" if decided else "parked" if parked else "dead-letter" if is_seen else "never-seen",
            decided=decided,
            parked=parked,
            dead_letters=letters,
            other_account_id=None if is_seen else await self._snapshot.value("explain_other_account", key),
        )

    async def _caused(self, number: int, sequence: int, decisions: Sequence[ExplainedDecision]) -> list[Caused]:
        if not decisions:
            return []
        positions = [decision.position for decision in decisions]
        # The entries of a decision are recorded with it, or later.
        since = min(decision.decided_at for decision in decisions) - TICK
        first = await self._snapshot.value("explain_sequence_at", number, sequence, since) + 1
        arguments = (number, sequence, positions, first, bounds.ENTRIES_OF_DECISIONS_MAX)
        rows = await self._snapshot.all("explain_entries_of_decisions", *arguments)
        charges: dict[int, list[int]] = defaultdict(list)
        for row in rows:
            if row["reason"] == "charge":
                charges[row["position"]].append(row["sequence"])
        again = {position: sequences for position, sequences in charges.items() if len(sequences) > 1}
        entries: dict[int, list[ExplainedEntry]] = defaultdict(list)
        for row in rows:
            entries[row["position"]].append(self._rows.entry(row, again))
        requests = {
            row["position"]: request_of(row)
            for row in await self._snapshot.all("explain_refund_requests", number, positions)
        }
        return [Caused(decision=d, entries=entries[d.position], request=requests.get(d.position)) for d in decisions]

    async def _standing(self, number: int, prospect_id: str) -> RefundState | None:
        rows = await self._snapshot.all("load_prospects", [number], [packed(prospect_id)])
        if not rows:
            return None
        history = []
        for row in rows:
            _, *columns, position, source, event_id, event_type, occurred_at, note = row
            if position is not None:
                history.append(
                    cause_of(position, source, unpacked(event_id), event_type, occurred_at, note, prospect_id)
                )
        prospect = from_columns(prospect_id, history, *columns)
        stays = prospect.stays()
        if not stays:
            return RefundState(on_account=False, origin=None, charge=None)
        stay = stays[-1]
        found = prospect.charge_of(stay)
        charge = None
        if found is not None:
            is_refunded = found.refund_sequence is not None
            charge = ExplainedCharge(
                sequence=found.sequence,
                status="refunded" if is_refunded else "forfeited" if found.is_settled else "alive",
                refund_sequence=found.refund_sequence,
            )
        return RefundState(on_account=stay.ended_by is None, origin=stay.origin, charge=charge)

    async def _letters(self, account_id: str, is_wanted: "Callable[[asyncpg.Record, Letter], bool]") -> FoundLetters:
        """The wanted dead letters of the account; it reads all of them, and holds few at a time."""
        letters, erased, left_out, seen = [], 0, 0, 0
        arguments = (account_id, bounds.LETTERS_LOOKED_THROUGH_MAX + 1)
        found = blocks(
            self._snapshot.connection, "explain_dead_letters", *arguments, rows=bounds.EXPLAIN_LETTERS_BLOCK_ROWS
        )
        async with aclosing(found):
            async for block in found:
                for row in block:
                    seen += 1
                    erased += row["is_erased"]
                    left_out += row["is_left_out"]
                    letter = letter_of(row)
                    if is_wanted(row, letter):
                        letters.append(letter)
        is_complete = seen <= bounds.LETTERS_LOOKED_THROUGH_MAX
        return FoundLetters(letters=letters, erased=erased, left_out=left_out, is_complete=is_complete)
