"""`credits replay`: reads a range of the incoming topics again."""

from typing import TYPE_CHECKING, Annotated

import typer

from credit_service.cli.replay.ranges import find_ranges, show_ranges, topics_of
from credit_service.cli.replay.report import ReplayReport
from credit_service.cli.replay.run import SAFE, run_replay
from credit_service.cli.shared.connections import kafka_of, settings_or_exit, writing_pool
from credit_service.cli.shared.errors import WrongUse
from credit_service.cli.shared.operator_options import Operator, Yes, confirm
from credit_service.cli.shared.output import Format, Output, say
from credit_service.cli.shared.run import run
from credit_service.cli.shared.times import range_of

if TYPE_CHECKING:
    from credit_service.application.operations import Json
    from credit_service.settings import Settings

EXIT_INTERRUPTED = 130
EXIT_LOST = 1


def replay(
    operator: Operator,
    topic: Annotated[
        list[str] | None,
        typer.Option("--topic", "-t", help="Only this incoming topic; may be given several times."),
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="TIME|OFFSET", help="The first offset or Kafka timestamp to read.")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", metavar="TIME|OFFSET", help="The offset or Kafka timestamp to stop before.")
    ] = None,
    account_id: Annotated[str | None, typer.Option("--account", help="Only messages of this account.")] = None,
    rate: Annotated[int | None, typer.Option(min=1, help="At most this many messages a second.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look every message up, and write nothing.")] = False,
    each: Annotated[
        bool, typer.Option("--each", help="Print a line of JSON for each message that is no plain duplicate.")
    ] = False,
    reason: Annotated[
        str | None, typer.Option("--reason", help="Why; recorded for good. Not needed for a dry run.")
    ] = None,
    yes: Yes = False,
    output: Output = Format.TEXT,
) -> int:
    """Read a range of the incoming topics again, and decide messages that were never decided.

    Messages that were decided before have no second effect, so any range may be replayed at any time, also while the
    service runs. It never reads past the offsets that the service has read; without a range it reads all up to them.
    Dead letters are left to [cyan]credits dead-letters[/]. The exit code is 1 if Kafka has deleted requested messages.

    Example: [cyan]credits replay --from 2026-03-01T00:00:00Z --to 2026-03-02T00:00:00Z --dry-run[/]

    Example: [cyan]credits replay --topic email-bounced --from 0 --reason "after the restore" --yes[/]
    """
    settings = settings_or_exit()
    begin, until = range_of(start, end)
    if not dry_run:
        _require_texts(operator, reason)
    kafka = kafka_of(settings)
    topics = topics_of(kafka, topic)
    ranges = run(find_ranges(settings, topics, begin, until))
    show_ranges(kafka, ranges, begin, until, account_id)
    if not dry_run:
        confirm("Replay this?", yes=yes)
    from credit_service.application.replay.replay import Replayed, ReplayOptions

    replayed = Replayed()
    arguments: dict[str, Json] = {
        "topics": [kafka.event_type(name) for name in topics],
        "from": start,
        "to": end,
        "account": account_id,
        "rate": rate,
    }
    report = ReplayReport(kafka, output, is_each=each, dry_run=dry_run)
    wanted, person = ReplayOptions(account_id, rate, dry_run), (operator, reason or "")
    run(run_replay(settings, ranges, wanted, person, arguments, report, replayed))
    if account_id is not None and not replayed.messages and not run(_is_known(settings, account_id)):
        raise WrongUse(f"there is no account {account_id!r}, and no message of it in this range")
    report.sum_up(replayed)
    if replayed.is_interrupted:
        say(f"Interrupted; {SAFE}.")
        return EXIT_INTERRUPTED
    lost_before = sum(one.lost_to_retention for one in ranges) if isinstance(begin, int) else 0
    return EXIT_LOST if replayed.lost_to_retention or lost_before else 0


def _require_texts(operator: str, reason: str | None) -> None:
    """Raises `WrongUse` if the operator or the reason is missing or too long to be kept."""
    from credit_service.application.text_limits import OPERATOR_CHARACTERS_MAX, REASON_CHARACTERS_MAX, require_text

    if reason is None:
        raise WrongUse("--reason: needed, and kept; only a --dry-run goes without")
    try:
        require_text("operator", operator, OPERATOR_CHARACTERS_MAX)
        require_text("reason", reason, REASON_CHARACTERS_MAX)
    except ValueError as error:
        raise WrongUse(f"--{error}") from None


async def _is_known(settings: "Settings", account_id: str) -> bool:
    from credit_service.postgres.reads.queries import PostgresReads

    async with writing_pool(settings) as pool:
        return await PostgresReads(pool).account(account_id) is not None
