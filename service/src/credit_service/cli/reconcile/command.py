"""`credits reconcile`: compares Kafka, the decisions and the ledger, and repairs on request."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from credit_service.cli.reconcile.compare import ComparedRange, RepairOrder, compare
from credit_service.cli.reconcile.repairs import run_alone
from credit_service.cli.reconcile.report import FindingsReport
from credit_service.cli.shared.connections import settings_or_exit
from credit_service.cli.shared.errors import WrongUse
from credit_service.cli.shared.operator_options import Operator, Yes
from credit_service.cli.shared.output import Format, Output
from credit_service.cli.shared.run import run
from credit_service.cli.shared.times import range_of


def reconcile(
    operator: Operator,
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="TIME|OFFSET", help="The first time or offset to read."),
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", metavar="TIME|OFFSET", help="The time or offset to stop before.")
    ] = None,
    account_id: Annotated[str | None, typer.Option("--account", help="Only this account.")] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Repair what can be repaired, after a question.")] = False,
    report: Annotated[Path | None, typer.Option("--report", help="Write all findings to a file.")] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Why it is repaired; recorded for good.")] = None,
    yes: Yes = False,
    output: Output = Format.TEXT,
) -> int:
    """Compare the topics, the decisions, the ledger and the published events.

    Without a range, it compares everything. Only --repair writes, and it never writes an entry. The exit code is 0 if
    all agrees, 1 if something differs, 2 if something could not be compared.

    Example: [cyan]credits reconcile --from 2026-03-01T00:00:00Z --report found.json[/]
    """
    settings = settings_or_exit()
    begin, until = range_of(start, end)
    if repair and not reason:
        raise WrongUse("--repair: needs a --reason, which is recorded")
    with FindingsReport(output, report) as printed:
        order = RepairOrder(operator, reason or "", yes) if repair else None
        work = partial(compare, settings, ComparedRange(begin, until, account_id), printed, order)
        return run(run_alone(settings, work) if repair else work())
