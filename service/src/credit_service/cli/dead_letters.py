"""`credits dead-letters`."""

from collections import Counter
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer

from credit_service.cli.faults import Failed, WrongUse
from credit_service.cli.letters_shown import age, each_line, groups_table, letter_shown, told_line
from credit_service.cli.output import Format, Output, put, say
from credit_service.cli.person import AsItStands, Operator, Reason, Yes, hold_to
from credit_service.cli.progress import progress
from credit_service.cli.run import kafka_of, ledger, reads, run, settings_or_exit, told_of_ledger

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from credit_service.application.dead_letters.desk import DeadLetterDesk
    from credit_service.application.dead_letters.model import LetterAnswer, LetterGroup, Letters
    from credit_service.postgres.operator.dead_letters import PostgresDeadLetters
    from credit_service.postgres.pool import Pool
    from credit_service.settings import Settings

LINES_DEFAULT = 100
LINES_MAX = 1_000_000
SAFE = "the same command may safely be run again"

Ids = Annotated[list[int] | None, typer.Argument(metavar="ID", help="Numbers of dead letters.", min=1)]
Id = Annotated[int, typer.Argument(metavar="ID", help="The number of a dead letter.", min=1)]
Topic = Annotated[str | None, typer.Option(help="All that wait of this incoming topic.", show_default=False)]
Because = Annotated[
    str | None, typer.Option(help="All that wait with this reason, such as bad-data.", show_default=False)
]
All = Annotated[bool, typer.Option("--all", help="All that wait.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would become of them, and keep nothing.")]

app = typer.Typer(help="Messages that could not be read or decided.", no_args_is_help=True)


@app.callback()
def dead_letters() -> None:
    """Messages that could not be read or decided."""


@app.command("list")
def list_letters(
    topic: Annotated[str | None, typer.Option(help="Only of this incoming topic.", show_default=False)] = None,
    because: Annotated[str | None, typer.Option(help="Only with this reason.", show_default=False)] = None,
    ended: Annotated[bool, typer.Option("--all", help="Also those that were resolved or discarded.")] = False,
    each: Annotated[bool, typer.Option("--each", help="A line a letter, the oldest first.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=LINES_MAX, help="With --each: so many at most.")] = LINES_DEFAULT,
    output: Output = Format.TEXT,
) -> None:
    """Show what waits, by topic and reason.

    Example: [cyan]credits dead-letters list[/]

    Example: [cyan]credits dead-letters list --topic plan-changed --each --limit 20[/]
    """
    settings = settings_or_exit()
    which = _group(settings, topic, because)
    if each:
        run(_list_each(settings, which, waiting_only=not ended, limit=limit, output=output))
        return

    async def read() -> "list[LetterGroup]":
        async with reads(settings) as pool:
            return await _letters(settings, pool).groups(which, waiting_only=not ended)

    groups = run(read())
    if output is Format.JSON:
        for group in groups:
            put(group.model_dump_json())
    elif groups:
        from rich.console import Console

        Console(highlight=False, markup=False).print(groups_table(groups))
    else:
        say("No dead letters." if ended else "No dead letter waits.")


@app.command()
def show(dead_letter_id: Id, output: Output = Format.TEXT) -> None:
    """Show one dead letter whole: bytes, headers, place, reason, and how it ended.

    Example: [cyan]credits dead-letters show 12[/]
    """
    settings = settings_or_exit()

    async def read() -> str:
        async with reads(settings) as pool:
            found = await _letters(settings, pool).letter(dead_letter_id)
        if found is None:
            raise WrongUse(f"there is no dead letter {dead_letter_id}")
        return found.model_dump_json() if output is Format.JSON else letter_shown(found)

    put(run(read()))


@app.command()
def retry(
    reason: Reason,
    operator: Operator,
    ids: Ids = None,
    topic: Topic = None,
    because: Because = None,
    everything: All = False,
    dry_run: DryRun = False,
    as_it_stands: AsItStands = False,
    yes: Yes = False,
    output: Output = Format.TEXT,
) -> int:
    """Take dead letters the way of live events once more, in order of occurrence.

    A line for each says what became of it. The exit code is 1 if one of them did not end: it waits on, with why. What
    was retried before has no second effect, so it is safe to repeat after any end. While events of an account wait to
    be read its letters stay as they are.

    Example: [cyan]credits dead-letters retry 12 13 --reason "billing is mended"[/]

    Example: [cyan]credits dead-letters retry --topic plan-changed --because bad-data --reason mended --dry-run[/]
    """
    settings = settings_or_exit()
    which = _which(settings, ids, topic, because, everything=everything)
    count = _counted(settings, which)
    if not count:
        return 0
    if which.ids is None and not dry_run:
        hold_to(f"Retry {_letters_counted(count)}?", yes=yes)

    def work(desk: "DeadLetterDesk") -> "AsyncGenerator[list[LetterAnswer]]":
        return desk.retry(which, operator=operator, reason=reason, dry_run=dry_run)

    return _do(settings, "resolved", work, count, output, is_trial=dry_run, as_it_stands=as_it_stands)


@app.command()
def discard(
    reason: Reason,
    operator: Operator,
    ids: Ids = None,
    topic: Topic = None,
    because: Because = None,
    everything: All = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    output: Output = Format.TEXT,
) -> int:
    """End dead letters without a decision, for good: who and why are kept, and so is the letter.

    The exit code is 1 if one of them was resolved before.

    Example: [cyan]credits dead-letters discard 12 --reason "sent by a test"[/]

    Example: [cyan]credits dead-letters discard --topic email-bounced --because not-json --reason "bad release"[/]
    """
    settings = settings_or_exit()
    which = _which(settings, ids, topic, because, everything=everything)
    count = _counted(settings, which)
    if dry_run or not count:
        say("Nothing was discarded.")
        return 0
    hold_to(f"Discard {_letters_counted(count)} for good?", yes=yes)

    def work(desk: "DeadLetterDesk") -> "AsyncGenerator[list[LetterAnswer]]":
        return desk.discard(which, operator=operator, reason=reason)

    return _do(settings, "discarded", work, count, output)


@app.command()
def erase(
    ids: Annotated[list[int], typer.Argument(metavar="ID", help="Numbers of dead letters.", min=1)],
    operator: Operator,
    yes: Yes = False,
    output: Output = Format.TEXT,
) -> int:
    """Take the original bytes out of dead letters, for good: key, value and headers.

    One that waits cannot be retried any more. What was published of it stays in Kafka as long as its topic keeps it.

    Example: [cyan]credits dead-letters erase 12 --yes[/]
    """
    settings = settings_or_exit()
    which = _which(settings, ids, None, None, everything=False)
    count = _counted(settings, which)
    hold_to(f"Erase the bytes of {_letters_counted(count)} for good?", yes=yes)

    async def work(desk: "DeadLetterDesk") -> "AsyncGenerator[list[LetterAnswer]]":
        yield await desk.erase(which.ids or (), operator=operator)

    return _do(settings, "erased", work, count, output)


def _which(
    settings: "Settings", ids: "Sequence[int] | None", topic: str | None, because: str | None, *, everything: bool
) -> "Letters":
    """Letters by their numbers, or one group; anything else is wrong use."""
    from credit_service.application.dead_letters.desk import IDS_MAX
    from credit_service.application.dead_letters.model import Letters

    ways = [bool(ids), topic is not None or because is not None, everything]
    if sum(ways) != 1:
        raise WrongUse("say which: either numbers, or --topic and --because, or --all")
    if ids and len(ids) > IDS_MAX:
        raise WrongUse(f"at most {IDS_MAX:,} numbers at a time")
    return Letters(ids=list(dict.fromkeys(ids))) if ids else _group(settings, topic, because)


def _group(settings: "Settings", topic: str | None, because: str | None) -> "Letters":
    from credit_contracts.envelope import UNREADABLE_REASONS
    from credit_contracts.topics import INCOMING_TOPICS
    from credit_service.application.dead_letters.model import Letters
    from credit_service.application.processing.reasons import REASONS_OF_FAULTS, REFUSALS

    name = None if topic is None else kafka_of(settings).event_type(topic)
    if name is not None and name not in INCOMING_TOPICS:
        raise WrongUse(f"--topic: {topic} is no incoming topic: one of {', '.join(INCOMING_TOPICS)}")
    reasons = [*UNREADABLE_REASONS, *REFUSALS, *REASONS_OF_FAULTS]
    if because is not None and because not in reasons:
        raise WrongUse(f"--because: {because} is no reason: one of {', '.join(reasons)}")
    return Letters(topic=name, reason=because)


def _counted(settings: "Settings", which: "Letters") -> int:
    """How many letters are meant, told by topic and reason where it is a group."""

    async def count() -> int:
        async with ledger(settings) as pool:
            letters = _letters(settings, pool)
            if which.ids is not None:
                known = await letters.states(which.ids)
                if missing := [i for i in which.ids if i not in known]:
                    raise WrongUse(f"there is no dead letter {missing[0]}")
                return len(which.ids)
            groups = await letters.groups(which, waiting_only=True)
        for group in groups:
            say(f"{group.letters:>9,}  {group.topic}, {group.reason}, the oldest {age(group.oldest_seconds)} ago")
        if not groups:
            say("No dead letter waits.")
        return sum(group.letters for group in groups)

    return run(count())


def _letters_counted(count: int) -> str:
    return f"{count:,} dead letter{'' if count == 1 else 's'}"


def _do(
    settings: "Settings",
    wanted: str,
    work: "Callable[[DeadLetterDesk], AsyncGenerator[list[LetterAnswer]]]",
    count: int,
    output: Format,
    *,
    is_trial: bool = False,
    as_it_stands: bool = False,
) -> int:
    """Tells what becomes of each letter as it is done; the exit code is 0 if all are as `wanted`, now or before."""
    became = Counter[str]()

    async def done() -> None:
        from credit_service.application.errors import LedgerUnavailable

        try:
            async with ledger(settings) as pool:
                with progress("Dead letters", count) as moved:
                    async with aclosing(work(_desk(settings, pool, as_it_stands=as_it_stands))) as batches:
                        async for answers in batches:
                            for answer in answers:
                                put(answer.model_dump_json() if output is Format.JSON else told_line(answer))
                                became[answer.became] += 1
                            moved(len(answers))
        except LedgerUnavailable as error:
            told = f"{became.total():,} of {count:,} were told, and {SAFE}"
            raise Failed(f"{told_of_ledger(error)}; {told}") from None

    try:
        run(done())
    except ValueError as error:
        raise WrongUse(str(error)) from None
    if is_trial:
        say("Nothing was kept. Each was decided by itself, as things stand now.")
    if output is Format.TEXT:
        say(", ".join(f"{number:,} {what}" for what, number in sorted(became.items())))
    return 0 if {wanted, f"{wanted}-before"}.issuperset(became) else 1


def _desk(settings: "Settings", pool: "Pool", *, as_it_stands: bool) -> "DeadLetterDesk":
    from credit_service.application.commands.read_progress import ReadProgress
    from credit_service.application.dead_letters.desk import DeadLetterDesk
    from credit_service.kafka.ranges.originals import KafkaOriginals
    from credit_service.kafka.ranges.unpack import BatchInFile
    from credit_service.postgres.ledger.ledger import PostgresLedger
    from credit_service.postgres.operator.operations import PostgresOperationLog
    from credit_service.runtime.failpoints import failpoint

    kafka, rules = kafka_of(settings), settings.rules
    operations, takes_apart = PostgresOperationLog(pool), BatchInFile(kafka.event_type)
    reach, originals = failpoint(settings.kill_at), KafkaOriginals(kafka)
    reading = ReadProgress(PostgresLedger(pool, unparked_max=rules.unparked_max), as_it_stands)
    return DeadLetterDesk(_letters(settings, pool), operations, rules, takes_apart, reading, reach, originals)


def _letters(settings: "Settings", pool: "Pool") -> "PostgresDeadLetters":
    from credit_service.domain.decide import Rules
    from credit_service.postgres.operator.dead_letters import PostgresDeadLetters

    return PostgresDeadLetters(pool, unparked_max=Rules().unparked_max, topic_prefix=settings.topic_prefix)


async def _list_each(settings: "Settings", which: "Letters", *, waiting_only: bool, limit: int, output: Format) -> None:
    async with reads(settings) as pool:
        lines = _letters(settings, pool).lines(which, waiting_only=waiting_only, limit=limit)
        async with aclosing(lines) as blocks:
            async for block in blocks:
                for line in block:
                    put(line.model_dump_json() if output is Format.JSON else each_line(line))
