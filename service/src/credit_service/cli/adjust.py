"""`credits adjust`: gives an account credits, or takes some."""

import re
import secrets
from typing import TYPE_CHECKING, Annotated

import typer

from credit_service.cli.shared.connections import opened_ledger, settings_or_exit, writing_pool
from credit_service.cli.shared.errors import CommandFailed, WrongUse
from credit_service.cli.shared.operator_options import AsItStands, Operator, Reason, Yes, confirm
from credit_service.cli.shared.output import Format, Output, put, say
from credit_service.cli.shared.run import run
from credit_service.cli.shared.times import instant_of

if TYPE_CHECKING:
    from datetime import datetime

    from credit_service.application.adjustments import AdjustmentAnswer, AdjustmentChange
    from credit_service.application.queries import AccountSnapshot
    from credit_service.settings import Settings

# A number without a sign could also be meant as the balance afterwards.
AMOUNT = re.compile(r"[+-][0-9]{1,12}")

# -5 is an amount, not an option.
NEGATIVE_NUMBERS = {"ignore_unknown_options": True}


def adjust(
    account_id: Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account's id.")],
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help="+N gives N credits, -N takes them.")],
    reason: Reason,
    operator: Operator,
    expires_at: Annotated[
        str | None, typer.Option(help="When the given credits expire, RFC 3339 with a zone; never if not given.")
    ] = None,
    command_id: Annotated[
        str | None,
        typer.Option("--id", help="The adjustment's id; a repeat has no second effect."),
    ] = None,
    as_it_stands: AsItStands = False,
    yes: Yes = False,
    output: Output = Format.TEXT,
) -> int:
    """Give an account credits, or take some: for goodwill, or to correct a mistake.

    Given credits burn like purchased ones. Taken credits come from the grants that burn first, and never exceed the
    balance. The exit code is 1 if the adjustment is refused. While events of the account are unread, it is refused
    after half a minute.

    Example: [cyan]credits adjust acme +50 --reason "goodwill after the outage"[/]

    Example: [cyan]credits adjust acme -5 --reason "given twice" --id ticket-81[/]
    """
    settings = settings_or_exit()
    if not AMOUNT.fullmatch(amount):
        raise WrongUse(f"AMOUNT: {amount!r} is neither +N nor -N")
    wanted = int(amount)
    until = instant_of("--expires-at", expires_at) if expires_at is not None else None
    name = command_id or secrets.token_hex(8)
    if not yes:
        found = run(_find_account(settings, account_id))
        if found is None:
            raise WrongUse(f"there is no account {account_id!r}")
        confirm(f"{_order(wanted)} {account_id}, which has {_credits(found.balance)}?", yes=yes)
    if command_id is None:
        say(f"The adjustment is {name}: after a fault, give it again with --id {name}")
    try:
        answer = run(_adjust(settings, account_id, wanted, until, operator, reason, name, as_it_stands=as_it_stands))
    except ValueError as error:
        raise WrongUse(str(error)) from None
    if answer.outcome == "unknown-account":
        raise WrongUse(f"there is no account {account_id!r}")
    if output is Format.JSON:
        put(answer.model_dump_json())
        return 0 if answer.outcome == "adjusted" else 1
    if answer.change is None:
        raise CommandFailed(f"nothing was adjusted: {_refusal(answer, wanted)}")
    put(_done(answer, answer.change))
    return 0


async def _find_account(settings: "Settings", account_id: str) -> "AccountSnapshot | None":
    from credit_service.postgres.reads.queries import PostgresReads

    async with writing_pool(settings) as pool:
        return await PostgresReads(pool).account(account_id)


async def _adjust(
    settings: "Settings",
    account_id: str,
    amount: int,
    expires_at: "datetime | None",
    operator: str,
    reason: str,
    command_id: str,
    *,
    as_it_stands: bool,
) -> "AdjustmentAnswer":
    from credit_service.application.adjustments import AdjustmentDesk
    from credit_service.postgres.operator.adjustments import PostgresAdjustments
    from credit_service.postgres.reads.queries import PostgresReads

    async with opened_ledger(settings) as into:
        reads, adjustments = PostgresReads(into.pool), PostgresAdjustments(into.pool)
        reading = into.reading(as_it_stands=as_it_stands)
        desk = AdjustmentDesk(into.ledger, into.rules, reads, adjustments, reading)
        return await desk.adjust(
            account_id, amount, expires_at=expires_at, operator=operator, reason=reason, command_id=command_id
        )


def _order(amount: int) -> str:
    return f"Give {_credits(amount)} to" if amount > 0 else f"Take {_credits(-amount)} from"


def _credits(number: int | None) -> str:
    if number is None:
        return "an unlimited plan"
    return f"{number:,} credit{'' if number == 1 else 's'}"


def _refusal(answer: "AdjustmentAnswer", amount: int) -> str:
    from credit_service.application.commands.read_progress import behind_message

    if answer.read_until is not None:
        return behind_message(answer.read_until)
    has = f"{answer.account_id} has {_credits(answer.balance)}"
    return {
        "not-open": f"{answer.account_id} has no plan yet",
        "being-opened": f"{answer.account_id} is being opened; run this again after `credits open`",
        "below-zero": f"{has}, and {-amount:,} cannot be taken",
        "expired": "--expires-at has passed",
        "account-full": f"the numbers of {answer.account_id} are used up",
        "conflict": f"--id {answer.command_id} was used before for another adjustment",
    }[answer.outcome]


def _done(answer: "AdjustmentAnswer", change: "AdjustmentChange") -> str:
    if change.balance is None:
        effect = f"{change.amount:+,} credits beneath an unlimited plan"
    else:
        effect = f"{change.previous_balance:,} -> {change.balance:,} credits ({change.amount:+,})"
    before = "" if answer.is_new else ", done before"
    return f"{answer.account_id}: {effect}, sequence {change.sequence}, id {answer.command_id}{before}"
