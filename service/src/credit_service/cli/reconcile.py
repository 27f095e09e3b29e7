"""`credits reconcile`."""

import json
import sys
from collections import Counter
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from credit_service.cli.faults import Failed, WrongUse
from credit_service.cli.instants import range_of
from credit_service.cli.output import Format, Output, put, say
from credit_service.cli.person import Operator, Yes, hold_to
from credit_service.cli.run import kafka_of, ledger, reads, run, settings_or_exit

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from datetime import datetime

    from credit_service.application.reconcile.findings import Finding, Findings
    from credit_service.application.reconcile.reconcile import Compared
    from credit_service.application.reconcile.repair import Repaired
    from credit_service.settings import Settings

EXIT_DIFFERENCES = 1
EXIT_COULD_NOT_TELL = 2
SHOWN_OF_A_KIND_MAX = 20

MENDS = {
    "process": "messages are decided",
    "publish": "events are published, under their old ids",
    "recount": "balances are made anew from their entries",
    "restore": "decisions are written again, as the rules and the entries prove them",
}


def reconcile(
    operator: Operator,
    start: Annotated[
        str | None, typer.Option("--from", metavar="TIME|OFFSET", help="Where to begin in the topics.")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", metavar="TIME|OFFSET", help="Where to end, itself left out.")
    ] = None,
    account_id: Annotated[str | None, typer.Option("--account", help="Only this account.")] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what may be mended; asks first.")] = False,
    report: Annotated[Path | None, typer.Option("--report", help="Write everything that is found to a file.")] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Why it is repaired; kept for good.")] = None,
    yes: Yes = False,
    output: Output = Format.TEXT,
) -> int:
    """Hold the topics, the decisions, the ledger and what was published against each other.

    Without a range, everything there is. Nothing is written without --repair, and no entry ever. The exit code is 0 if
    all agrees, 1 if something differs, 2 if something could not be compared.

    Example: [cyan]credits reconcile --from 2026-03-01T00:00:00Z --report found.json[/]
    """
    settings = settings_or_exit()
    begin, until = range_of(start, end)
    if repair and not reason:
        raise WrongUse("--repair: needs a --reason, which is kept")
    with _Told(output, report) as told:
        person = (operator, reason or "", yes) if repair else None
        work = partial(_reconcile, settings, begin, until, account_id, told, person)
        return run(_alone(settings, work) if repair else work())


class _Told:
    """Tells what is found as it is found: on stdout, some of each kind, and all of it in the report."""

    def __init__(self, output: Format, report: Path | None) -> None:
        self._output = output
        self._report = report
        self._file: TextIO | None = None
        self._shown: Counter[str] = Counter()

    def __enter__(self) -> "_Told":
        if self._report is not None:
            try:
                self._file = self._beside.open("w", encoding="utf-8")
            except OSError as error:
                raise WrongUse(f"--report {self._report}: {error.strerror}") from None
            with self._writing():
                self._file.write('{"findings": [')
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            # What ended the command is told; a disk that is full would be told in its place.
            with suppress(OSError):
                self._file.close()
            self._beside.unlink(missing_ok=True)

    @contextmanager
    def _writing(self) -> "Iterator[None]":
        try:
            yield
        except OSError as error:
            raise Failed(f"--report {self._report}: {error.strerror}") from None

    @property
    def _beside(self) -> Path:
        """Becomes the report once it is whole."""
        report = self._report or Path()
        return report.with_name(f".{report.name}.part")

    def finding(self, finding: "Finding") -> None:
        """One disagreement."""
        line = json.dumps(_as_json(finding))
        if self._file is not None:
            with self._writing():
                self._file.write(("\n" if not self._shown.total() else ",\n") + line)
        self._shown[finding.kind] += 1
        if self._output is Format.JSON:
            put(line)
        elif self._shown[finding.kind] <= SHOWN_OF_A_KIND_MAX:
            put(f"{finding.kind}: {finding.subject}: {finding.message}")
        elif self._shown[finding.kind] == SHOWN_OF_A_KIND_MAX + 1:
            put(f"{finding.kind}: … and more, see the counts below")

    def sum_up(self, compared: "Compared", findings: "Findings") -> None:
        """The end of the report, and what it all came to."""
        summary = {
            "compared": {
                "messages": compared.messages,
                "published": compared.published,
                "accounts": compared.accounts,
                "decisions": compared.decisions,
                "changes": compared.changes,
            },
            "differences": dict(sorted(findings.counts.items())),
            "could_not_tell": findings.unknown,
        }
        if self._file is not None and self._report is not None:
            with self._writing():
                self._file.write(f'\n], "summary": {json.dumps(summary)}}}\n')
                self._file.close()
                self._beside.replace(self._report)
            self._file = None
        if self._output is Format.JSON:
            put(json.dumps({"summary": summary}))
            return
        put(
            f"Compared {compared.messages:,} messages, {compared.decisions:,} decisions and {compared.changes:,} "
            f"balance changes of {compared.accounts:,} accounts, and {compared.published:,} published events."
        )
        for kind, count in sorted(findings.counts.items()):
            put(f"{count:>8,}  {kind}")
        for what in findings.unknown:
            put(f"Could not tell: {what}")
        if not findings.counts and not findings.unknown:
            put("All agrees.")


def _as_json(finding: "Finding") -> dict[str, str | None]:
    return {
        "kind": finding.kind,
        "account_id": finding.account_id,
        "subject": finding.subject,
        "told": finding.message,
        "mend": finding.mend,
    }


async def _alone(settings: "Settings", work: "Callable[[], Coroutine[None, None, int]]") -> int:
    """Does the work unless another repair runs."""
    from credit_service.postgres.address import Addresses
    from credit_service.postgres.reconcile.repair import only_repair

    async with only_repair(Addresses.of(settings).service) as is_alone:
        if not is_alone:
            raise Failed("another repair runs: try again once it has ended")
        return await work()


async def _reconcile(
    settings: "Settings",
    begin: "datetime | int | None",
    until: "datetime | int | None",
    account_id: str | None,
    told: _Told,
    person: tuple[str, str, bool] | None,
) -> int:
    from datetime import datetime

    from credit_service.application.reconcile.findings import Findings
    from credit_service.application.reconcile.reconcile import Reconciliation
    from credit_service.bootstrap import collect_seldom
    from credit_service.kafka.access.topic_ids import of_topics_gone
    from credit_service.kafka.ranges.audit_topics import open_topics
    from credit_service.kafka.ranges.ranges import RangeStalled, TopicsUnknown
    from credit_service.kafka.ranges.unpack import BatchInFile
    from credit_service.kafka.topics import partition_counts
    from credit_service.postgres.address import Addresses
    from credit_service.postgres.ledger.offsets import PostgresOffsetStore
    from credit_service.postgres.reads.queries import PostgresReads
    from credit_service.postgres.reconcile.audit import open_audit

    collect_seldom()
    kafka = kafka_of(settings)
    rules = settings.rules
    findings = Findings(told.finding)
    # What is to be mended is looked for where it will be mended.
    addresses = Addresses.of(settings)
    address = addresses.reader if person is None else addresses.service
    async with (reads if person is None else ledger)(settings) as pool:
        if account_id is not None and await PostgresReads(pool).account(account_id) is None:
            raise WrongUse(f"there is no account {account_id!r}")
        counts = await partition_counts(kafka, kafka.incoming_topics, "read")
        partitions = [(topic, at) for topic in kafka.incoming_topics for at in range(counts.get(topic, 0))]
        # The offsets before the snapshot: what lies before them was decided in it.
        offsets = PostgresOffsetStore(pool)
        stored = await offsets.load(partitions)
        skipped = await offsets.skipped(kafka.incoming_topics)
        for gone in sorted(await of_topics_gone(kafka, offsets, partitions)):
            # What is stored is an offset of the old one: none of the new one was decided.
            stored.pop(gone, None)
            findings.could_not_tell(f"{gone[0]}/{gone[1]}: the topic was made anew, and no service has read it yet")
        try:
            async with (
                open_topics(kafka, stored, skipped, begin, until) as topics,
                open_audit(address, settings.topic_prefix) as audit,
            ):
                with _progress(topics.messages) as moved:
                    reconciliation = Reconciliation(
                        audit,
                        topics,
                        rules,
                        findings,
                        BatchInFile(kafka.event_type),
                        account_id=account_id,
                        start=begin if isinstance(begin, datetime) else None,
                        end=until if isinstance(until, datetime) else None,
                        is_window=begin is not None or until is not None,
                        count_read=moved,
                    )
                    await reconciliation.run()
        except TopicsUnknown as error:
            raise Failed(f"topics are missing: {error}; run `credits topics create`") from None
        except RangeStalled as error:
            findings.could_not_tell(str(error))
        told.sum_up(reconciliation.compared, findings)
        is_mended = False
        if person is not None and findings.to_mend:
            is_mended = _all_mended(await _repair(settings, findings, *person), findings)
    if findings.counts and not is_mended:
        return EXIT_DIFFERENCES
    return EXIT_COULD_NOT_TELL if findings.unknown else 0


def _all_mended(repaired: "Repaired", findings: "Findings") -> bool:
    for mend, count in repaired.done.items():
        say(f"{count:>8,}  {MENDS[mend]}")
    for finding in repaired.refused:
        say(f"The database refuses to have this mended: {finding.subject}")
    left = findings.counts.total() - repaired.done.total()
    if left:
        say(f"{left:,} are left for a person.")
    say("Run it once more to see that all agrees.")
    return left == 0


async def _repair(settings: "Settings", findings: "Findings", operator: str, reason: str, yes: bool) -> "Repaired":
    from credit_service.application.processing.processor import Processor
    from credit_service.application.reconcile.repair import Repair
    from credit_service.postgres.ledger.ledger import PostgresLedger
    from credit_service.postgres.operator.operations import PostgresOperationLog
    from credit_service.postgres.reconcile.repair import PostgresRepairStore

    counts = Counter(finding.mend for finding in findings.to_mend)
    say("To be repaired:")
    for mend, count in counts.items():
        say(f"{count:>8,}  {MENDS[mend]}")
    hold_to("Repair this?", yes=yes)
    rules = settings.rules
    async with ledger(settings) as pool:
        into = PostgresLedger(
            pool,
            unparked_max=rules.unparked_max,
            topic_prefix=settings.topic_prefix,
            letter_bytes_per_day=settings.dead_letter_bytes_per_day,
        )
        repair = Repair(
            PostgresRepairStore(pool), Processor(into, rules, moves_offsets=False), PostgresOperationLog(pool)
        )
        try:
            return await repair.run(findings.to_mend, operator, reason)
        except ValueError as error:
            raise WrongUse(f"--{error}") from None


@contextmanager
def _progress(messages: int) -> "Iterator[Callable[[int], None]]":
    """A bar on stderr, where that is a terminal; what is published counts about as much as what came in."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    shared = sys.stdout.isatty()
    with Progress(
        *columns, console=Console(stderr=True), transient=True, redirect_stdout=shared, redirect_stderr=False
    ) as bar:
        task = bar.add_task("Messages compared", total=2 * messages)
        yield lambda count: bar.advance(task, count)
