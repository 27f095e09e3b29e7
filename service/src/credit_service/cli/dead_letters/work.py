"""Retries, discards and erases dead letters batch by batch, and prints what became of each."""

from collections import Counter
from contextlib import aclosing
from typing import TYPE_CHECKING

from credit_service.cli.dead_letters.display import answer_line
from credit_service.cli.dead_letters.selection import letters_in
from credit_service.cli.shared.connections import kafka_of, opened_ledger
from credit_service.cli.shared.errors import CommandFailed, WrongUse
from credit_service.cli.shared.output import Format, put, say
from credit_service.cli.shared.progress import progress
from credit_service.cli.shared.run import run
from credit_service.cli.shared.server_errors import describe_ledger_error

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from credit_service.application.dead_letters.desk import DeadLetterDesk
    from credit_service.application.dead_letters.model import LetterAnswer
    from credit_service.bootstrap.ledger import OpenedLedger
    from credit_service.settings import Settings

SAFE = "the same command may safely be run again"


def work_off(
    settings: "Settings",
    wanted: str,
    work: "Callable[[DeadLetterDesk], AsyncGenerator[list[LetterAnswer]]]",
    count: int,
    output: Format,
    *,
    is_trial: bool = False,
    as_it_stands: bool = False,
) -> int:
    """Prints what became of each letter; the exit code is 0 if each is as `wanted`, now or before."""
    became = Counter[str]()

    async def run_work() -> None:
        from credit_service.application.errors import LedgerUnavailable

        try:
            async with opened_ledger(settings) as into:
                with progress("Dead letters", count) as bar:
                    async with aclosing(work(_desk(settings, into, as_it_stands=as_it_stands))) as batches:
                        async for answers in batches:
                            for answer in answers:
                                put(answer.model_dump_json() if output is Format.JSON else answer_line(answer))
                                became[answer.became] += 1
                            bar.advance(len(answers))
        except LedgerUnavailable as error:
            so_far = f"{became.total():,} of {count:,} are done, and {SAFE}"
            raise CommandFailed(f"{describe_ledger_error(error)}; {so_far}") from None

    try:
        run(run_work())
    except ValueError as error:
        raise WrongUse(str(error)) from None
    if is_trial:
        say("Nothing was kept. Each was decided by itself, as things stand now.")
    if output is Format.TEXT:
        say(", ".join(f"{number:,} {name}" for name, number in sorted(became.items())))
    return 0 if {wanted, f"{wanted}-before"}.issuperset(became) else 1


def _desk(settings: "Settings", into: "OpenedLedger", *, as_it_stands: bool) -> "DeadLetterDesk":
    from credit_service.application.dead_letters.desk import DeadLetterDesk
    from credit_service.kafka.ranges.originals import KafkaOriginals
    from credit_service.kafka.ranges.unpack import BatchInFile
    from credit_service.runtime.failpoints import failpoint

    kafka = kafka_of(settings)
    return DeadLetterDesk(
        letters_in(settings, into.pool),
        into.operations,
        into.rules,
        BatchInFile(kafka.event_type),
        into.reading(as_it_stands=as_it_stands),
        failpoint(settings.kill_at),
        KafkaOriginals(kafka),
    )
