"""`credits refunds`."""

from collections import Counter
from contextlib import aclosing
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, cast

import typer

from credit_service.cli.faults import Failed, WrongUse
from credit_service.cli.output import Format, Output, put, say
from credit_service.cli.person import AsItStands, Operator, Reason, Yes, hold_to
from credit_service.cli.progress import progress
from credit_service.cli.refunds_shown import request_shown, request_table
from credit_service.cli.run import ledger, reads, run, settings_or_exit, told_of_ledger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from credit_service.application.refunds.desk import DecidedRefund, RefundRound, RequestSelection
    from credit_service.application.refunds.queries import RequestLine
    from credit_service.domain.decision import RequestStatus
    from credit_service.postgres.pool import Pool
    from credit_service.settings import Settings

LINES_DEFAULT = 100
LINES_MAX = 1_000_000
CHARGES_MAX = 1_000
SHOWN_BEFORE_MAX = 10
SAFE = "the same command may safely be run again"

# A charge from before the ledger has a negative number, which is no option.
NEGATIVE_NUMBERS = {"ignore_unknown_options": True}


class Status(StrEnum):
    """Which requests are listed."""

    WAITING = "waiting"
    APPROVED = "approved"
    REJECTED = "rejected"
    OVERTAKEN = "overtaken"
    ALL = "all"


AccountArgument = Annotated[str | None, typer.Argument(metavar="ACCOUNT", help="The account's id.", show_default=False)]
Charges = Annotated[
    list[int] | None,
    typer.Argument(metavar="CHARGE", help="Charges that are asked about, by their numbers.", show_default=False),
]
AllWaiting = Annotated[bool, typer.Option("--all-waiting", help="All requests that wait now.")]
OfAccount = Annotated[
    str | None, typer.Option("--account", help="With --all-waiting: only of this account.", show_default=False)
]

app = typer.Typer(help="Requests to refund charges for wrong e-mails.", no_args_is_help=True)


@app.callback()
def refunds() -> None:
    """Requests to refund charges for wrong e-mails."""


@app.command("list")
def list_requests(
    status: Annotated[Status, typer.Option(help="Which requests.")] = Status.WAITING,
    account: Annotated[str | None, typer.Option(help="Only of this account.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, max=LINES_MAX, help="So many at most.")] = LINES_DEFAULT,
    output: Output = Format.TEXT,
) -> None:
    """Show refund requests, the oldest first.

    Example: [cyan]credits refunds list --account acme[/]
    """
    settings = settings_or_exit()

    async def tell() -> None:
        from credit_service.postgres.operator.refunds import PostgresRefundRequests

        wanted = None if status is Status.ALL else cast("RequestStatus", status.value)
        async with reads(settings) as pool:
            requests = PostgresRefundRequests(pool)
            if account is not None and not await requests.knows(account):
                raise WrongUse(f"there is no account {account!r}")
            told = 0
            async with aclosing(requests.lines(wanted, account, limit)) as blocks:
                async for block in blocks:
                    _put(block, output, is_first=not told)
                    told += len(block)
        if not told and output is Format.TEXT:
            say(f"No request is {status.value}." if wanted else "No requests.")

    run(tell())


@app.command(context_settings=NEGATIVE_NUMBERS)
def show(
    account_id: Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account's id.")],
    charge: Annotated[int, typer.Argument(metavar="CHARGE", help="The charge that is asked about, by its number.")],
    output: Output = Format.TEXT,
) -> None:
    """Show one refund request: its charge, the event that asked, and what was decided by whom and why.

    Example: [cyan]credits refunds show acme 7[/]
    """
    settings = settings_or_exit()

    async def read() -> str:
        from credit_service.postgres.operator.refunds import PostgresRefundRequests

        async with reads(settings) as pool:
            requests = PostgresRefundRequests(pool)
            found = await requests.request(account_id, charge)
            if found is None and not await requests.knows(account_id):
                raise WrongUse(f"there is no account {account_id!r}")
        if found is None:
            raise WrongUse(f"{account_id}: nobody asked to refund the charge {charge}")
        return found.model_dump_json() if output is Format.JSON else request_shown(found)

    put(run(read()))


@app.command(context_settings=NEGATIVE_NUMBERS)
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
    """Give the credits back that requests ask for.

    A line for each says what became of it; the exit code is 1 if one had no effect, now or before. The same command
    again has no second effect. While events of an account wait to be read its requests are refused as `behind`.

    Example: [cyan]credits refunds approve acme 7 --reason "wrong person"[/]

    Example: [cyan]credits refunds approve --all-waiting --account acme --reason "bad list" --yes[/]
    """
    which = account_id, charges, all_waiting, account
    return _decide(
        which, reason=reason, operator=operator, approved=True, as_it_stands=as_it_stands, yes=yes, output=output
    )


@app.command(context_settings=NEGATIVE_NUMBERS)
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
    """Close requests without giving credits back; nobody is asked about these charges again.

    A line for each says what became of it; the exit code is 1 if one had no effect, now or before. The same command
    again has no second effect. While events of an account wait to be read its requests are refused as `behind`.

    Example: [cyan]credits refunds reject acme 7 --reason "the address is right"[/]
    """
    which = account_id, charges, all_waiting, account
    return _decide(
        which, reason=reason, operator=operator, approved=False, as_it_stands=as_it_stands, yes=yes, output=output
    )


def _decide(
    which: tuple[str | None, list[int] | None, bool, str | None],
    *,
    reason: str,
    operator: str,
    approved: bool,
    as_it_stands: bool,
    yes: bool,
    output: Format,
) -> int:
    settings = settings_or_exit()
    asked, count = run(_asked(settings, *which))
    if not count:
        return 0
    hold_to(f"{'Approve' if approved else 'Reject'} {count:,} request{'' if count == 1 else 's'}?", yes=yes)
    became = Counter[str]()
    is_well = True

    async def decide() -> None:
        from credit_service.application.errors import LedgerUnavailable

        nonlocal is_well
        try:
            async with ledger(settings) as pool:
                desk = _round(settings, pool, as_it_stands=as_it_stands)
                with progress("Requests", count) as moved:
                    async with aclosing(
                        desk.decide(asked, approve=approved, operator=operator, reason=reason)
                    ) as decided:
                        async for told in decided:
                            put(told.model_dump_json() if output is Format.JSON else _line(told))
                            became[told.outcome] += 1
                            is_well = is_well and told.had_effect
                            moved(1)
        except LedgerUnavailable as error:
            told_of = f"{became.total():,} of {count:,} were told, and {SAFE}"
            raise Failed(f"{told_of_ledger(error)}; {told_of}") from None

    try:
        run(decide())
    except ValueError as error:
        raise WrongUse(str(error)) from None
    if output is Format.TEXT:
        say(", ".join(f"{number:,} {what}" for what, number in sorted(became.items())))
    return 0 if is_well else 1


async def _asked(
    settings: "Settings", account_id: str | None, charges: list[int] | None, all_waiting: bool, account: str | None
) -> "tuple[RequestSelection, int]":
    """Which requests are meant, and how many; they are shown on stderr, or the first of them."""
    from credit_service.application.refunds.desk import RequestSelection
    from credit_service.postgres.operator.refunds import PostgresRefundRequests

    if all_waiting == bool(charges) or (all_waiting and account_id is not None) or (charges and account is not None):
        raise WrongUse("say which: either ACCOUNT and CHARGE, or --all-waiting, maybe with --account")
    if charges and len(charges) > CHARGES_MAX:
        raise WrongUse(f"at most {CHARGES_MAX:,} charges at a time")
    of = account_id if charges else account
    async with ledger(settings) as pool:
        requests = PostgresRefundRequests(pool)
        if of is not None and not await requests.knows(of):
            raise WrongUse(f"there is no account {of!r}")
        if charges and of is not None:
            wanted = list(dict.fromkeys(charges))
            found = [await requests.request(of, charge) for charge in wanted[:SHOWN_BEFORE_MAX]]
            _show_before([line for line in found if line is not None], len(wanted))
            return RequestSelection(of, charges=wanted), len(wanted)
        waiting = await requests.waiting(of)
        page = await requests.page(of, waiting.at, None, SHOWN_BEFORE_MAX)
        if waiting.requests:
            _show_before(page.lines, waiting.requests)
        else:
            say("No request waits.")
        return RequestSelection(of, up_to=waiting.at), waiting.requests


def _show_before(lines: "Sequence[RequestLine]", count: int) -> None:
    from rich.console import Console

    if lines:
        Console(stderr=True, highlight=False, markup=False).print(request_table(lines))
    if count > len(lines) == SHOWN_BEFORE_MAX:
        say(f"... and {count - len(lines):,} more")


def _put(block: "Sequence[RequestLine]", output: Format, *, is_first: bool) -> None:
    if output is Format.JSON:
        for line in block:
            put(line.model_dump_json())
        return
    from rich.console import Console

    Console(highlight=False, markup=False).print(request_table(block, with_head=is_first))


def _line(told: "DecidedRefund") -> str:
    from credit_service.application.commands.read_progress import behind_message

    if told.read_until is not None:
        return f"{told.account_id} {told.charge_sequence}: {told.outcome}, {behind_message(told.read_until)}"
    before = "" if told.is_new or not told.had_effect else ", done before"
    return f"{told.account_id} {told.charge_sequence}: {told.outcome}{before}"


def _round(settings: "Settings", pool: "Pool", *, as_it_stands: bool) -> "RefundRound":
    from credit_service.application.commands.read_progress import ReadProgress
    from credit_service.application.refunds.desk import RefundDesk, RefundRound
    from credit_service.postgres.ledger.ledger import PostgresLedger
    from credit_service.postgres.operator.operations import PostgresOperationLog
    from credit_service.postgres.operator.refunds import PostgresRefundRequests

    rules = settings.rules
    into = PostgresLedger(pool, unparked_max=rules.unparked_max, topic_prefix=settings.topic_prefix)
    desk = RefundDesk(into, rules, ReadProgress(into, as_it_stands))
    return RefundRound(desk, PostgresRefundRequests(pool), PostgresOperationLog(pool))
