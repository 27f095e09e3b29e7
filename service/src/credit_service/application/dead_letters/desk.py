"""The desk for dead letters: an operator retries letters through the fold, discards them or erases their bytes."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

from credit_service import bounds
from credit_service.application.commands.read_progress import ReadProgress
from credit_service.application.dead_letters.answers import answers_before
from credit_service.application.dead_letters.left_out import NoOriginals, Originals
from credit_service.application.dead_letters.letter_retry import LetterRetry
from credit_service.application.dead_letters.model import Became, LetterAnswer, Letters, LetterStore, TakesApart
from credit_service.application.dead_letters.order import in_order
from credit_service.application.operations import Operation, OperationLog, recorded
from credit_service.application.processing.batch_share import BatchShare
from credit_service.application.retry import retry
from credit_service.application.text_limits import OPERATOR_CHARACTERS_MAX, REASON_CHARACTERS_MAX, require_text
from credit_service.domain.rules import Rules
from credit_service.runtime.failpoints import Failpoint, no_failpoints

IDS_MAX = 1_000
"""How many numbers one command takes."""


@dataclass(frozen=True, slots=True)
class DeadLetterDesk:
    """Retries, discards and erases letters in `letters`; operations on a whole group are recorded in `operations`.

    Letters that are kept without their bytes are read from `originals`. `reading` knows how far the events of their
    accounts are read.
    """

    letters: LetterStore
    operations: OperationLog
    rules: Rules
    takes_apart: TakesApart
    reading: ReadProgress
    reach: Failpoint = field(default=no_failpoints)
    originals: Originals = field(default_factory=NoOriginals)

    async def retry(
        self, which: Letters, *, operator: str, reason: str, dry_run: bool = False
    ) -> AsyncGenerator[list[LetterAnswer]]:
        """Retries letters like live events, in order of occurrence; yields their answers batch by batch.

        A letter is resolved in the transaction that decides it. One that again cannot be read or decided waits on, with
        the new reason; one that the ledger refuses fails alone. A batch that takes longer than a transaction may is
        halved. A letter that is kept without its bytes is ordered by Kafka's time, and fails where Kafka no longer has
        its record. One of an account whose events are not read yet fails as `behind`, and does not change. A batch of
        Kafka that was too large to be unpacked is taken apart: its records are decided in transactions before the one
        that resolves it. No stored offset changes. It is safe to repeat after any end. With `dry_run` each letter is
        decided by itself on the present state, a batch of Kafka is only unpacked, and nothing is kept. Raises
        `ValueError` on an empty or overlong text, and `LedgerUnavailable` if the ledger is away for longer than a few
        attempts: the answers of the current batch are then unknown.
        """
        _require_texts(operator, reason)
        async with self._recorded("dead-letters-retry", which, operator, reason, is_trial=dry_run) as operation:
            letters_max = 1 if dry_run else bounds.LETTERS_PER_BATCH_MAX
            at_once = BatchShare()
            async for batch in in_order(self.letters, which, await self.letters.last_id(), letters_max):
                letter_retry = LetterRetry(
                    self.letters,
                    self.rules,
                    self.takes_apart,
                    self.reading,
                    self.reach,
                    self.originals,
                    operator,
                    reason,
                    dry_run,
                )
                answers = await letter_retry.run(batch, at_once)
                _count(operation, answers)
                yield answers

    async def discard(self, which: Letters, *, operator: str, reason: str) -> AsyncGenerator[list[LetterAnswer]]:
        """Ends letters without a decision, for good; yields their answers batch by batch.

        Raises as `retry` does.
        """
        _require_texts(operator, reason)
        async with self._recorded("dead-letters-discard", which, operator, reason, is_trial=False) as operation:
            async for batch in self._batches(which):
                ended = set(await retry(partial(self.letters.discard, batch, operator, reason)))
                answers = [LetterAnswer(dead_letter_id=i, became="discarded") for i in batch if i in ended]
                answers += await answers_before(self.letters, [i for i in batch if i not in ended])
                _count(operation, answers)
                yield answers

    async def erase(self, ids: Sequence[int], *, operator: str) -> list[LetterAnswer]:
        """Erases key, value and headers of letters, for good; one that waits cannot be retried any more.

        The published letter stays in Kafka for as long as its topic keeps it. Raises `ValueError` on an empty or
        overlong text, and `LedgerUnavailable`.
        """
        require_text("operator", operator, OPERATOR_CHARACTERS_MAX)
        erased = set(await retry(partial(self.letters.erase, ids, operator)))
        states = await self.letters.states(ids)
        became: dict[int, Became] = {i: "erased" if i in erased else "erased-before" for i in states}
        return [LetterAnswer(dead_letter_id=i, became=became.get(i, "unknown")) for i in ids]

    @asynccontextmanager
    async def _recorded(
        self, kind: str, which: Letters, operator: str, reason: str, *, is_trial: bool
    ) -> AsyncIterator[Operation]:
        if is_trial or which.ids is not None:
            yield Operation(operation_id=0)
            return
        async with recorded(self.operations, kind, operator, reason, which.arguments) as operation:
            yield operation

    async def _batches(self, which: Letters) -> AsyncGenerator[Sequence[int]]:
        if which.ids is not None:
            yield which.ids
            return
        after, up_to = 0, await self.letters.last_id()
        while ids := await self.letters.waiting_ids(which, after, up_to, bounds.LETTER_IDS_READ_MAX):
            yield ids
            after = ids[-1]


def _count(operation: Operation, answers: Sequence[LetterAnswer]) -> None:
    for answer in answers:
        operation.count(answer.became)


def _require_texts(operator: str, reason: str) -> None:
    require_text("operator", operator, OPERATOR_CHARACTERS_MAX)
    require_text("reason", reason, REASON_CHARACTERS_MAX)
