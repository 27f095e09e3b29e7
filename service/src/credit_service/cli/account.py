"""`credits account`: lists accounts, and shows the balance and the ledger entries of one."""

from contextlib import aclosing
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from credit_service.cli.shared.connections import long_reading_connection, reading_pool, settings_or_exit
from credit_service.cli.shared.errors import WrongUse
from credit_service.cli.shared.output import Format, Output, put
from credit_service.cli.shared.panels import LOOK
from credit_service.cli.shared.rows import RowsFormat, RowsOutput, print_rows
from credit_service.cli.shared.run import run
from credit_service.cli.shared.times import instant_of

if TYPE_CHECKING:
    from rich.table import Table

    from credit_service.application.export import WhichAccounts, WhichEntries
    from credit_service.application.queries import AccountSnapshot
    from credit_service.settings import Settings


class Kind(StrEnum):
    """The reasons of balance changes, named as in the messages."""

    CHARGE = "charge"
    REFUND = "refund"
    RENEWAL = "renewal"
    PLAN_CHANGE = "plan_change"
    PURCHASE = "purchase"
    LAPSE = "lapse"
    ADJUSTMENT = "adjustment"
    OPENING = "opening"


app = typer.Typer(help="Accounts and their credits.", no_args_is_help=True)


@app.callback()
def account() -> None:
    """Accounts and their credits."""


@app.command("list", rich_help_panel=LOOK)
def list_accounts(
    below: Annotated[int | None, typer.Option(min=1, help="Only balances below this many credits.")] = None,
    unlimited: Annotated[bool, typer.Option("--unlimited", help="Only accounts on an unlimited plan.")] = False,
    plan: Annotated[str | None, typer.Option(help="Only accounts with this plan in force.")] = None,
    prefix: Annotated[str, typer.Option(help="Only accounts whose id begins with this.")] = "",
    parked: Annotated[bool, typer.Option("--parked", help="Only accounts with parked events.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many accounts.")] = None,
    output: RowsOutput = RowsFormat.TEXT,
) -> None:
    """List accounts with their balances, in the order of their ids, as of one moment.

    An unlimited account has no balance. An account is listed if it matches all options.

    Example: [cyan]credits account list --below 10 --output csv[/]
    """
    if unlimited and below is not None:
        raise WrongUse("--below and --unlimited exclude each other: an unlimited account has no balance")
    settings = settings_or_exit()
    from credit_service.application.export import WhichAccounts

    run(_list(settings, WhichAccounts(prefix, below, unlimited, plan, parked, limit), output))


async def _list(settings: "Settings", which: "WhichAccounts", output: RowsFormat) -> None:
    from credit_service.application.export import ExportedAccount
    from credit_service.postgres.reads.export import PostgresExports

    async with (
        long_reading_connection(settings) as connection,
        aclosing(PostgresExports(connection).accounts(which)) as blocks,
    ):
        await print_rows(ExportedAccount._fields, blocks, output)


@app.command(rich_help_panel=LOOK)
def entries(
    account_id: Annotated[
        str | None, typer.Argument(metavar="[ACCOUNT]", help="The account's id; without it, all accounts.")
    ] = None,
    start: Annotated[str | None, typer.Option("--from", metavar="TIME", help="Recorded at this time or later.")] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Recorded before this time.")] = None,
    reason: Annotated[Kind | None, typer.Option(help="Only changes with this reason.")] = None,
    output: RowsOutput = RowsFormat.TEXT,
) -> None:
    """Print the ledger entry by entry: what changed a balance, when, and which message caused it.

    Consecutive ranges contain every entry once, if each [cyan]--to[/] is at least a minute in the past. A range of time
    over all accounts reads the whole ledger, account by account, and takes accordingly long.

    Example: [cyan]credits account entries --from 2026-03-01T00:00:00Z --to 2026-04-01T00:00:00Z --output csv[/]
    """
    since = None if start is None else instant_of("--from", start)
    until = None if end is None else instant_of("--to", end)
    if since is not None and until is not None and since >= until:
        raise WrongUse(f"--from {start} --to {end}: the range is empty, --to has to be later")
    settings = settings_or_exit()
    from credit_service.application.export import WhichEntries

    run(_entries(settings, WhichEntries(account_id, since, until, None if reason is None else reason.value), output))


async def _entries(settings: "Settings", which: "WhichEntries", output: RowsFormat) -> None:
    from credit_service.application.export import ExportedEntry, UnknownAccount
    from credit_service.postgres.reads.export import PostgresExports

    async with (
        long_reading_connection(settings) as connection,
        aclosing(PostgresExports(connection).entries(which)) as blocks,
    ):
        try:
            await print_rows(ExportedEntry._fields, blocks, output)
        except UnknownAccount:
            raise WrongUse(f"there is no account {which.account_id!r}") from None


@app.command(rich_help_panel=LOOK)
def show(
    account_id: Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account's id.")],
    output: Output = Format.TEXT,
) -> None:
    """Show an account's balance, plan, period and open grants.

    Example: [cyan]credits account show acme --output json[/]
    """
    settings = settings_or_exit()

    async def read() -> "AccountSnapshot | None":
        from credit_service.postgres.reads.queries import PostgresReads

        async with reading_pool(settings) as pool:
            return await PostgresReads(pool).account(account_id)

    found = run(read())
    if found is None:
        raise WrongUse(f"there is no account {account_id!r}")
    if output is Format.JSON:
        put(found.model_dump_json())
    else:
        _print(found)


def _print(account: "AccountSnapshot") -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    console.print(_summary(account))
    if account.grants:
        console.print(_grants(account))


def _summary(account: "AccountSnapshot") -> "Table":
    from rich.table import Table

    table = Table(show_header=False, title=f"Account {account.account_id}", title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("Balance", "unlimited" if account.balance is None else f"{account.balance:,} credits")
    table.add_row("Plan", _plan(account))
    if account.period is not None:
        table.add_row("Period", f"{_minute(account.period.starts_at)} to {_minute(account.period.ends_at)} UTC")
    table.add_row("Declined in period", f"{account.declined_in_period:,}")
    table.add_row("Balance changes", f"{account.sequence:,}")
    return table


def _plan(account: "AccountSnapshot") -> str:
    plan = account.plan
    if plan is None:
        return "none in force"
    monthly = "unlimited credits" if plan.monthly_credits is None else f"{plan.monthly_credits:,} credits a month"
    also = {"seats": plan.seats, "e-mail accounts": plan.email_accounts}
    more = [f"{count:,} {name}" for name, count in also.items() if count is not None]
    return f"{plan.plan_id}: {', '.join([monthly, *more])}"


def _grants(account: "AccountSnapshot") -> "Table":
    from rich.table import Table

    table = Table(title="Open grants, the first to burn first", title_justify="left")
    for name in ("Grant", "Remaining", "of"):
        table.add_column(name, justify="right")
    for name in ("Origin", "Since (UTC)", "Expires (UTC)"):
        table.add_column(name)
    for grant in account.grants:
        table.add_row(
            str(grant.grant_id),
            f"{grant.remaining:,}",
            f"{grant.amount:,}",
            grant.origin,
            _minute(grant.effective_at),
            "never" if grant.expires_at is None else _minute(grant.expires_at),
        )
    return table


def _minute(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M}"
