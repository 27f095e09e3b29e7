"""What is known of a prospect, as its row keeps it: what was told is named by the positions of its decisions."""

import json
from collections.abc import Sequence
from datetime import datetime

from credit_service.domain.event import Cause
from credit_service.domain.opening import LONG_AGO, OPENING
from credit_service.domain.prospect import ORIGIN_OF, Charge, Prospect, stays_of

Columns = tuple[object, ...]


def columns_of(prospect: Prospect) -> Columns:
    """Origin, what was told, charge, its grant, its refund, its time, number of the last stay, all charges, the close.

    Those from the charge to its time are of the last stay, and all charges are named when these do not say all.
    """
    if (plain := _columns_of_plain(prospect)) is not None:
        return plain
    stays = prospect.stays()
    stay = stays[-1] if stays else None
    charge = prospect.charge_of(stay) if stay else None
    if stay and charge is None:
        # A forfeit charge that proved to belong to no stay is still there for one that costs, and shows meanwhile.
        charge = next(iter(prospect.strays(stays)), None)
    is_all = len(prospect.charges) == (charge is not None) and (charge is None or _is_plain(charge))
    return (
        stay.origin if stay else None,
        f"{{{','.join(str(told.position) for told in prospect.history)}}}",
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
    told: list[Cause],
    charge_sequence: int | None,
    charge_grant_id: int | None,
    refund_sequence: int | None,
    charge_at: datetime | None,
    stay: int,
    charges: str | None,
    closed_until: datetime | None,
) -> Prospect:
    """The prospect of a row, with what was told of it."""
    prospect = Prospect(prospect_id, told, stays_past=stay - len(stays_of(told)), closed_until=closed_until)
    if charges is not None:
        prospect.charges = _load(charges)
    elif charge_sequence is not None:
        at = charge_at or told[0].occurred_at
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
    """What the decision told of the prospect; an opening has its origin as a note, and tells of long ago."""
    if event_type == OPENING:
        return Cause(position, source, event_id, f"prospect-{note}", LONG_AGO, prospect_id)
    return Cause(position, source, event_id, event_type, occurred_at, prospect_id)


def _columns_of_plain(prospect: Prospect) -> Columns | None:
    """The same for almost all prospects, in a fraction of the time: brought on, charged, and nothing else."""
    if len(prospect.history) != 1 or len(prospect.charges) != 1 or prospect.stays_past or prospect.closed_until:
        return None
    told, charge = prospect.history[0], prospect.charges[0]
    origin = ORIGIN_OF.get(told.type)
    if origin is None or charge.is_settled or charge.is_requested or charge.at != told.occurred_at:
        return None
    return (origin, f"{{{told.position}}}", charge.sequence, charge.grant_id, None, None, 1, None, None)


def _is_plain(charge: Charge) -> bool:
    """Whether it is alive or refunded: neither forfeit nor asked for."""
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
