"""`credits account`."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from credit_service.cli.faults import WrongUse
from credit_service.cli.output import Format, Output, put
from credit_service.cli.run import ledger, run, settings_or_exit

if TYPE_CHECKING:
    from rich.table import Table

    from credit_service.application.read import AccountSnapshot

app = typer.Typer(help="Accounts and their credits.", no_args_is_help=True)


@app.callback()
def account() -> None:
    """Accounts and their credits."""


@app.command()
def show(
    account_id: Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account's id.")],
    output: Output = Format.TEXT,
) -> None:
    """Show an account's balance, plan, period and open grants.

    Example: [cyan]credits account show acme --output json[/]
    """
    settings = settings_or_exit()

    async def read() -> "AccountSnapshot | None":
        from credit_service.postgres.read import PostgresReads

        async with ledger(settings) as pool:
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
    more = [f"{count:,} {what}" for what, count in also.items() if count is not None]
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
