"""`credits refunds`: lists, shows, approves and rejects refund requests."""

from contextlib import aclosing
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, cast

import typer

from credit_service.cli.refunds.decide import decide
from credit_service.cli.refunds.display import request_table, request_text
from credit_service.cli.shared.connections import reading_pool, settings_or_exit
from credit_service.cli.shared.errors import WrongUse
from credit_service.cli.shared.operator_options import AsItStands, Operator, Reason, Yes
from credit_service.cli.shared.output import Format, Output, put, say
from credit_service.cli.shared.panels import DECIDE, LOOK
from credit_service.cli.shared.run import run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from credit_service.application.refunds.queries import RequestLine
    from credit_service.domain.decision import RequestStatus

LINES_DEFAULT = 100
LINES_MAX = 1_000_000

# A charge from before the ledger has a negative number, not an option.
NEGATIVE_NUMBERS = {"ignore_unknown_options": True}


class ListedStatus(StrEnum):
    """Which requests are listed."""

    WAITING = "waiting"
    APPROVED = "approved"
    REJECTED = "rejected"
    OVERTAKEN = "overtaken"
    ALL = "all"


AccountArgument = Annotated[str | None, typer.Argument(metavar="ACCOUNT", help="The account's id.", show_default=False)]
Charges = Annotated[
    list[int] | None,
    typer.Argument(metavar="CHARGE", help="Numbers of the charges to refund.", show_default=False),
]
AllWaiting = Annotated[bool, typer.Option("--all-waiting", help="All requests that wait now.")]
OfAccount = Annotated[
    str | None, typer.Option("--account", help="With --all-waiting: only requests of this account.", show_default=False)
]

app = typer.Typer(help="Requests to refund charges for wrong e-mails.", no_args_is_help=True)


@app.callback()
def refunds() -> None:
    """Requests to refund charges for wrong e-mails."""


@app.command("list", rich_help_panel=LOOK)
def list_requests(
    status: Annotated[ListedStatus, typer.Option(help="Only requests with this status.")] = ListedStatus.WAITING,
    account: Annotated[str | None, typer.Option(help="Only requests of this account.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, max=LINES_MAX, help="At most this many requests.")] = LINES_DEFAULT,
    output: Output = Format.TEXT,
) -> None:
    """Show refund requests, the oldest first.

    Example: [cyan]credits refunds list --account acme[/]
    """
    settings = settings_or_exit()

    async def print_requests() -> None:
        from credit_service.postgres.operator.refunds import PostgresRefundRequests

        wanted = None if status is ListedStatus.ALL else cast("RequestStatus", status.value)
        async with reading_pool(settings) as pool:
            requests = PostgresRefundRequests(pool)
            if account is not None and not await requests.knows(account):
                raise WrongUse(f"there is no account {account!r}")
            printed = 0
            async with aclosing(requests.lines(wanted, account, limit)) as blocks:
                async for block in blocks:
                    _put(block, output, is_first=not printed)
                    printed += len(block)
        if not printed and output is Format.TEXT:
            say(f"No request is {status.value}." if wanted else "No requests.")

    run(print_requests())


@app.command(context_settings=NEGATIVE_NUMBERS, rich_help_panel=LOOK)
def show(
    account_id: Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account's id.")],
    charge: Annotated[int, typer.Argument(metavar="CHARGE", help="The number of the charge.")],
    output: Output = Format.TEXT,
) -> None:
    """Show one refund request: its charge, the event that caused it, and who decided what and why.

    Example: [cyan]credits refunds show acme 7[/]
    """
    settings = settings_or_exit()

    async def read() -> str:
        from credit_service.postgres.operator.refunds import PostgresRefundRequests

        async with reading_pool(settings) as pool:
            requests = PostgresRefundRequests(pool)
            found = await requests.request(account_id, charge)
            if found is None and not await requests.knows(account_id):
                raise WrongUse(f"there is no account {account_id!r}")
        if found is None:
            raise WrongUse(f"{account_id}: nobody asked to refund the charge {charge}")
        return found.model_dump_json() if output is Format.JSON else request_text(found)

    put(run(read()))


@app.command(context_settings=NEGATIVE_NUMBERS, rich_help_panel=DECIDE)
def approve(
    reason: Reason,
    operator: Operator,
    account_id: AccountArgument = None,
    charges: Charges = None,
    all_waiting: AllWaiting = False,
    account: OfAccount = None,
    as_it_stands: AsItStands = False,
    yes: Yes = False,
    output: Output = Format.TEXT,
) -> int:
    """Approve requests: give the credits back.

    A line for each request says what became of it; the exit code is 1 if one had no effect, now or before. A repeated
    command has no second effect. While events of an account are unread, its requests are refused as `behind`.

    Example: [cyan]credits refunds approve acme 7 --reason "wrong person"[/]

    Example: [cyan]credits refunds approve --all-waiting --account acme --reason "bad list" --yes[/]
    """
    which = account_id, charges, all_waiting, account
    return decide(
        which, reason=reason, operator=operator, approved=True, as_it_stands=as_it_stands, yes=yes, output=output
    )


@app.command(context_settings=NEGATIVE_NUMBERS, rich_help_panel=DECIDE)
def reject(
    reason: Reason,
    operator: Operator,
    account_id: AccountArgument = None,
    charges: Charges = None,
    all_waiting: AllWaiting = False,
    account: OfAccount = None,
    as_it_stands: AsItStands = False,
    yes: Yes = False,
    output: Output = Format.TEXT,
) -> int:
    """Reject requests: no credits are given back, and these charges cause no new request.

    A line for each request says what became of it; the exit code is 1 if one had no effect, now or before. A repeated
    command has no second effect. While events of an account are unread, its requests are refused as `behind`.

    Example: [cyan]credits refunds reject acme 7 --reason "the address is right"[/]
    """
    which = account_id, charges, all_waiting, account
    return decide(
        which, reason=reason, operator=operator, approved=False, as_it_stands=as_it_stands, yes=yes, output=output
    )


def _put(block: "Sequence[RequestLine]", output: Format, *, is_first: bool) -> None:
    if output is Format.JSON:
        for line in block:
            put(line.model_dump_json())
        return
    from rich.console import Console

    Console(highlight=False, markup=False).print(request_table(block, with_head=is_first))
