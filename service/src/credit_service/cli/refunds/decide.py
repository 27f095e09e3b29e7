"""Approves or rejects refund requests, and prints what became of each."""

from collections import Counter
from contextlib import aclosing
from typing import TYPE_CHECKING

from credit_service.cli.refunds.display import request_table
from credit_service.cli.shared.connections import opened_ledger, settings_or_exit, writing_pool
from credit_service.cli.shared.errors import CommandFailed, WrongUse
from credit_service.cli.shared.operator_options import confirm
from credit_service.cli.shared.output import Format, put, say
from credit_service.cli.shared.progress import progress
from credit_service.cli.shared.run import run
from credit_service.cli.shared.server_errors import describe_ledger_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from credit_service.application.refunds.desk import DecidedRefund, RefundRound, RequestSelection
    from credit_service.application.refunds.queries import RequestLine
    from credit_service.bootstrap.ledger import OpenedLedger
    from credit_service.settings import Settings

CHARGES_MAX = 1_000
SHOWN_BEFORE_MAX = 10
SAFE = "the same command may safely be run again"


def decide(
    which: tuple[str | None, list[int] | None, bool, str | None],
    *,
    reason: str,
    operator: str,
    approved: bool,
    as_it_stands: bool,
    yes: bool,
    output: Format,
) -> int:
    """Shows the requests, asks for confirmation, and decides them; returns the exit code.

    `which` are the options: account, charges, all waiting requests, and the account of those.
    """
    settings = settings_or_exit()
    requests, count = run(_select(settings, *which))
    if not count:
        return 0
    confirm(f"{'Approve' if approved else 'Reject'} {count:,} request{'' if count == 1 else 's'}?", yes=yes)
    became = Counter[str]()
    is_well = True

    async def decide_each() -> None:
        from credit_service.application.errors import LedgerUnavailable

        nonlocal is_well
        try:
            async with opened_ledger(settings) as into:
                desk = _desk(into, as_it_stands=as_it_stands)
                with progress("Requests", count) as bar:
                    async with aclosing(
                        desk.decide(requests, approve=approved, operator=operator, reason=reason)
                    ) as decided:
                        async for answer in decided:
                            put(answer.model_dump_json() if output is Format.JSON else _line(answer))
                            became[answer.outcome] += 1
                            is_well = is_well and answer.had_effect
                            bar.advance(1)
        except LedgerUnavailable as error:
            so_far = f"{became.total():,} of {count:,} are done, and {SAFE}"
            raise CommandFailed(f"{describe_ledger_error(error)}; {so_far}") from None

    try:
        run(decide_each())
    except ValueError as error:
        raise WrongUse(str(error)) from None
    if output is Format.TEXT:
        say(", ".join(f"{number:,} {name}" for name, number in sorted(became.items())))
    return 0 if is_well else 1


async def _select(
    settings: "Settings", account_id: str | None, charges: list[int] | None, all_waiting: bool, account: str | None
) -> "tuple[RequestSelection, int]":
    """The selected requests and their number; the first of them are shown on stderr."""
    from credit_service.application.refunds.desk import RequestSelection
    from credit_service.postgres.operator.refunds import PostgresRefundRequests

    if all_waiting == bool(charges) or (all_waiting and account_id is not None) or (charges and account is not None):
        raise WrongUse("say which: either ACCOUNT and CHARGE, or --all-waiting, maybe with --account")
    if charges and len(charges) > CHARGES_MAX:
        raise WrongUse(f"at most {CHARGES_MAX:,} charges at a time")
    of = account_id if charges else account
    async with writing_pool(settings) as pool:
        requests = PostgresRefundRequests(pool)
        if of is not None and not await requests.knows(of):
            raise WrongUse(f"there is no account {of!r}")
        if charges and of is not None:
            wanted = list(dict.fromkeys(charges))
            found = [await requests.request(of, charge) for charge in wanted[:SHOWN_BEFORE_MAX]]
            _show([line for line in found if line is not None], len(wanted))
            return RequestSelection(of, charges=wanted), len(wanted)
        waiting = await requests.waiting(of)
        page = await requests.page(of, waiting.at, None, SHOWN_BEFORE_MAX)
        if waiting.requests:
            _show(page.lines, waiting.requests)
        else:
            say("No request waits.")
        return RequestSelection(of, up_to=waiting.at), waiting.requests


def _show(lines: "Sequence[RequestLine]", count: int) -> None:
    from rich.console import Console

    if lines:
        Console(stderr=True, highlight=False, markup=False).print(request_table(lines))
    if count > len(lines) == SHOWN_BEFORE_MAX:
        say(f"... and {count - len(lines):,} more")


def _line(answer: "DecidedRefund") -> str:
    from credit_service.application.commands.read_progress import behind_message

    if answer.read_until is not None:
        behind = behind_message(answer.read_until)
        return f"{answer.account_id} {answer.charge_sequence}: {answer.outcome}, {behind}"
    before = "" if answer.is_new or not answer.had_effect else ", done before"
    return f"{answer.account_id} {answer.charge_sequence}: {answer.outcome}{before}"


def _desk(into: "OpenedLedger", *, as_it_stands: bool) -> "RefundRound":
    from credit_service.application.refunds.desk import RefundDesk, RefundRound
    from credit_service.postgres.operator.refunds import PostgresRefundRequests

    desk = RefundDesk(into.ledger, into.rules, into.reading(as_it_stands=as_it_stands))
    return RefundRound(desk, PostgresRefundRequests(into.pool), into.operations)
