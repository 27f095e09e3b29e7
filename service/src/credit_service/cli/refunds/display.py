"""Refund requests as text for people."""

from typing import TYPE_CHECKING

from credit_service.cli.shared.text import age

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from rich.table import Table

    from credit_service.application.refunds.queries import RequestCause, RequestLine, ShownRequest


def request_table(lines: "Sequence[RequestLine]", *, with_head: bool = True) -> "Table":
    """A table with a row for each request."""
    from rich.table import Table

    table = Table(show_header=with_head)
    for name in ("Account", "Prospect"):
        table.add_column(name, overflow="fold")
    table.add_column("Charge", justify="right")
    for name in ("Charged (UTC)", "Paid by", "Status", "Asked"):
        table.add_column(name)
    for line in lines:
        table.add_row(
            line.account_id,
            line.prospect_id,
            str(line.charge_sequence),
            "before the ledger" if line.charged_at is None else _minute(line.charged_at),
            _paid_by(line),
            line.status,
            f"{age(line.age_seconds)} ago",
        )
    return table


def request_text(request: "ShownRequest") -> str:
    """All of one request."""
    entry = request.entry
    balance = None
    if entry is not None and entry.balance is not None:
        balance = f"{entry.previous_balance:,} -> {entry.balance:,} credits"
    rows = [
        ("Account", request.account_id),
        ("Prospect", request.prospect_id),
        ("Charge", str(request.charge_sequence)),
        ("Charged", _cause(request.charged_by)),
        ("Paid by", _paid_by(request)),
        ("Balance", balance),
        ("Asked", _cause(request.asked_by)),
        ("Status", request.status),
        ("Decided", _cause(request.decided_by) or (_minute(request.decided_at) if request.decided_at else None)),
        ("By", request.operator),
        ("Because", request.reason),
        ("Refund", None if request.refund_sequence is None else str(request.refund_sequence)),
    ]
    return "\n".join(f"{name:<10}{text}" for name, text in rows if text is not None)


def _paid_by(line: "RequestLine") -> str:
    if line.paid_by == "unlimited":
        return "nothing, unlimited"
    if line.paid_by == "before-ledger":
        return "before the ledger"
    return f"{line.grant_origin} grant {line.grant_id}"


def _cause(cause: "RequestCause | None") -> str | None:
    if cause is None:
        return None
    return f"{_minute(cause.occurred_at)} UTC by {cause.type} {cause.id} from {cause.source}: {cause.outcome}"


def _minute(instant: "datetime") -> str:
    return f"{instant:%Y-%m-%d %H:%M}"
