"""The row of a prospect: its history is stored as the positions of the decisions."""

import json
from collections.abc import Sequence
from datetime import datetime

from credit_service.domain.event import Cause
from credit_service.domain.opening import LONG_AGO, OPENING
from credit_service.domain.prospect import ORIGIN_OF, Charge, Prospect, stays_of

Columns = tuple[object, ...]


def columns_of(prospect: Prospect) -> Columns:
    """Origin, history, charge, its grant, its refund, its time, number of the last stay, all charges, closed until.

    The charge, its grant, its refund and its time are those of the last stay. All charges are listed when these columns
    do not hold every charge.
    """
    if (plain := _columns_of_plain(prospect)) is not None:
        return plain
    stays = prospect.stays()
    stay = stays[-1] if stays else None
    charge = prospect.charge_of(stay) if stay else None
    if stay and charge is None:
        # A forfeit charge that belongs to no stay is kept for a later stay that costs, and is shown meanwhile.
        charge = next(iter(prospect.strays(stays)), None)
    is_all = len(prospect.charges) == (charge is not None) and (charge is None or _is_plain(charge))
    return (
        stay.origin if stay else None,
        f"{{{','.join(str(cause.position) for cause in prospect.history)}}}",
        charge.sequence if charge else None,
        charge.grant_id if charge else None,
        charge.refund_sequence if charge else None,
        charge.at if charge and is_all and charge.at != prospect.history[0].occurred_at else None,
        prospect.stays_past + len(stays),
        None if is_all else _dump(prospect.charges),
        prospect.closed_until,
    )


def from_columns(
    prospect_id: str,
    history: list[Cause],
    charge_sequence: int | None,
    charge_grant_id: int | None,
    refund_sequence: int | None,
    charge_at: datetime | None,
    stay: int,
    charges: str | None,
    closed_until: datetime | None,
) -> Prospect:
    """The prospect of a row with its history."""
    prospect = Prospect(prospect_id, history, stays_past=stay - len(stays_of(history)), closed_until=closed_until)
    if charges is not None:
        prospect.charges = _load(charges)
    elif charge_sequence is not None:
        at = charge_at or history[0].occurred_at
        is_settled = refund_sequence is not None
        prospect.charges = [Charge(charge_sequence, charge_grant_id, at, refund_sequence, is_settled)]
    return prospect


def cause_of(
    position: int,
    source: str,
    event_id: str,
    event_type: str,
    occurred_at: datetime,
    note: str | None,
    prospect_id: str,
) -> Cause:
    """The decision as an item of a prospect's history; an opening has its origin as a note, and occurred long ago."""
    if event_type == OPENING:
        return Cause(position, source, event_id, f"prospect-{note}", LONG_AGO, prospect_id)
    return Cause(position, source, event_id, event_type, occurred_at, prospect_id)


def _columns_of_plain(prospect: Prospect) -> Columns | None:
    """The columns of a prospect that was brought on and charged, as almost all are, in a fraction of the time."""
    if len(prospect.history) != 1 or len(prospect.charges) != 1 or prospect.stays_past or prospect.closed_until:
        return None
    cause, charge = prospect.history[0], prospect.charges[0]
    origin = ORIGIN_OF.get(cause.type)
    if origin is None or charge.is_settled or charge.is_requested or charge.at != cause.occurred_at:
        return None
    return (origin, f"{{{cause.position}}}", charge.sequence, charge.grant_id, None, None, 1, None, None)


def _is_plain(charge: Charge) -> bool:
    """Whether the charge is alive or refunded: neither forfeit nor under a refund request."""
    return charge.is_settled == (charge.refund_sequence is not None) and not charge.is_requested


def _dump(charges: Sequence[Charge]) -> str:
    return json.dumps(
        [[c.sequence, c.grant_id, c.at.isoformat(), c.refund_sequence, c.is_settled, c.is_requested] for c in charges],
        separators=(",", ":"),
    )


def _load(charges: str) -> list[Charge]:
    return [
        Charge(sequence, grant_id, datetime.fromisoformat(at), *rest)
        for sequence, grant_id, at, *rest in json.loads(charges)
    ]
