"""`credits adjust`."""

import re
import secrets
from typing import TYPE_CHECKING, Annotated

import typer

from credit_service.cli.faults import Failed, WrongUse
from credit_service.cli.instants import instant_of
from credit_service.cli.output import Format, Output, put, say
from credit_service.cli.person import AsItStands, Operator, Reason, Yes, hold_to
from credit_service.cli.run import ledger, run, settings_or_exit

if TYPE_CHECKING:
    from credit_service.application.adjustments import AdjustmentAnswer, AdjustmentChange
    from credit_service.application.queries import AccountSnapshot

# Without a sign, nobody knows whether it is meant to be given or to be what there is afterwards.
AMOUNT = re.compile(r"[+-][0-9]{1,12}")

# -5 is an amount and no option.
NEGATIVE_NUMBERS = {"ignore_unknown_options": True}


def adjust(
    account_id: Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account's id.")],
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help="+N gives N credits, -N takes them.")],
    reason: Reason,
    operator: Operator,
    expires_at: Annotated[
        str | None, typer.Option(help="When what is given ends, RFC 3339 with a zone; never if not given.")
    ] = None,
    command_id: Annotated[
        str | None, typer.Option("--id", help="Names the adjustment: the same once more has no second effect.")
    ] = None,
    as_it_stands: AsItStands = False,
    yes: Yes = False,
    output: Output = Format.TEXT,
) -> int:
    """Give an account credits, or take some: goodwill, or the mending of a mistake.

    What is given burns like a purchase; what is taken comes from what burns first, and never more than there is. The
    exit code is 1 if it was refused. While events of the account wait to be read it is refused, after half a minute.

    Example: [cyan]credits adjust acme +50 --reason "goodwill after the outage"[/]

    Example: [cyan]credits adjust acme -5 --reason "given twice" --id ticket-81[/]
    """
    settings = settings_or_exit()
    if not AMOUNT.fullmatch(amount):
        raise WrongUse(f"AMOUNT: {amount!r} is neither +N nor -N")
    wanted = int(amount)
    until = instant_of("--expires-at", expires_at) if expires_at is not None else None
    name = command_id or secrets.token_hex(8)

    async def look() -> "AccountSnapshot | None":
        from credit_service.postgres.reads.queries import PostgresReads

        async with ledger(settings) as pool:
            return await PostgresReads(pool).account(account_id)

    async def do() -> "AdjustmentAnswer":
        from credit_service.application.adjustments import AdjustmentDesk
        from credit_service.application.commands.read_progress import ReadProgress
        from credit_service.postgres.ledger.ledger import PostgresLedger
        from credit_service.postgres.operator.adjustments import PostgresAdjustments
        from credit_service.postgres.reads.queries import PostgresReads

        rules = settings.rules
        async with ledger(settings) as pool:
            into = PostgresLedger(pool, unparked_max=rules.unparked_max, topic_prefix=settings.topic_prefix)
            reading = ReadProgress(into, as_it_stands)
            desk = AdjustmentDesk(into, rules, PostgresReads(pool), PostgresAdjustments(pool), reading)
            return await desk.adjust(
                account_id, wanted, expires_at=until, operator=operator, reason=reason, command_id=name
            )

    if not yes:
        found = run(look())
        if found is None:
            raise WrongUse(f"there is no account {account_id!r}")
        hold_to(f"{_order(wanted)} {account_id}, which has {_credits(found.balance)}?", yes=yes)
    if command_id is None:
        say(f"The adjustment is {name}: after a fault, give it again with --id {name}")
    try:
        answer = run(do())
    except ValueError as error:
        raise WrongUse(str(error)) from None
    if answer.outcome == "unknown-account":
        raise WrongUse(f"there is no account {account_id!r}")
    if output is Format.JSON:
        put(answer.model_dump_json())
        return 0 if answer.outcome == "adjusted" else 1
    if answer.change is None:
        raise Failed(f"nothing was adjusted: {_refusal(answer, wanted)}")
    put(_told(answer, answer.change))
    return 0


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
        "being-opened": f"{answer.account_id} is being opened; once `credits open` has ended, do it again",
        "below-zero": f"{has}, and {-amount:,} cannot be taken",
        "expired": "--expires-at has passed",
        "account-full": f"the numbers of {answer.account_id} are used up",
        "conflict": f"--id {answer.command_id} was used before for something else",
    }[answer.outcome]


def _told(answer: "AdjustmentAnswer", change: "AdjustmentChange") -> str:
    if change.balance is None:
        what = f"{change.amount:+,} credits beneath an unlimited plan"
    else:
        what = f"{change.previous_balance:,} -> {change.balance:,} credits ({change.amount:+,})"
    before = "" if answer.is_new else ", done before"
    return f"{answer.account_id}: {what}, sequence {change.sequence}, id {answer.command_id}{before}"
