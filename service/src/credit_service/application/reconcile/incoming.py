"""The incoming topics as a reconciliation reads them, with the records of batches that were taken apart."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from credit_service.application.dead_letters.model import TAKEN_APART, CannotTakeApart, TakesApart, portions_of
from credit_service.application.processing.known_events import KnownLetter, Lookup, classify_keys
from credit_service.application.reconcile.findings import Findings, place_text
from credit_service.application.reconcile.ports import Topics
from credit_service.application.record import Record, is_batch


@dataclass(frozen=True, slots=True)
class IncomingMessages:
    """Reads the records of `topics`; batches that cannot be taken apart are noted in `findings`."""

    topics: Topics
    lookup: Lookup
    takes_apart: TakesApart
    findings: Findings

    async def records(self, number: int) -> AsyncGenerator[list[Record]]:
        """The records of a partition number; of a batch that was too large to be read, those decided since as well."""
        async with aclosing(self.topics.incoming(number)) as portions:
            async for records in portions:
                batches = [record for record in records if is_batch(record)]
                letters = await self.lookup.letters([batch.place for batch in batches]) if batches else {}
                yield [r for r in records if r.place not in letters or letters[r.place].outcome != TAKEN_APART]
                for batch in batches:
                    if batch.place in letters:
                        async for portion in self._decided_of(batch, letters[batch.place]):
                            yield portion

    async def _decided_of(self, batch: Record, letter: KnownLetter) -> AsyncGenerator[list[Record]]:
        """The records of a batch that was taken apart; of one that waits, those that a retry has decided."""
        try:
            async with self.takes_apart(batch) as within:
                for portion in portions_of(within):
                    records = [one for one in portion if isinstance(one, Record)]
                    if letter.outcome != TAKEN_APART:
                        _, known, _ = await classify_keys(records, self.lookup)
                        records = [
                            r for r, k in zip(records, known, strict=True) if k is not None and k.place == r.place
                        ]
                    yield records
        except CannotTakeApart as error:
            self.findings.could_not_tell(f"{place_text(batch.place)}: a batch cannot be taken apart: {error}")
