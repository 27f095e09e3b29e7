"""What was told of a prospect, as its row keeps it: in columns while that is one event, beyond that as JSON."""

import json
from dataclasses import replace
from datetime import datetime

from credit_service.domain.decision import Cause
from credit_service.domain.opening import LONG_AGO, OPENING
from credit_service.domain.prospect import BOUNCED, ORIGIN_OF, Charge, Prospect, ProspectOrigin, stays_of

Columns = tuple[object, ...]


def columns_of(prospect: Prospect) -> Columns:
    """Origin, all that was told, charge, its grant, its refund, first bounce without a charge, delete, number, story.

    Those between the second and the number are of the last stay.
    """
    if _is_plain(prospect):
        told, charge = prospect.told[0], prospect.charges[0] if prospect.charges else None
        origin = ORIGIN_OF.get(told.type)
        paid = (charge.sequence, charge.grant_id) if charge else (None, None)
        bounce = told.position if told.type == BOUNCED else None
        return (origin, told.position, *paid, None, bounce, None, 1 if origin else 0, None)
    stays = stays_of(prospect.told)
    stay = stays[-1] if stays else None
    charge = prospect.charge_of(stay) if stay else None
    bounce = next((told.position for told in prospect.told if told.type == BOUNCED), None) if charge is None else None
    return (
        stay.origin if stay else None,
        None,
        charge.sequence if charge else None,
        charge.grant_id if charge else None,
        charge.refund_sequence if charge else None,
        bounce,
        stay.ended_at if stay else None,
        prospect.stays_past + len(stays),
        _dump(prospect),
    )


def from_columns(
    prospect_id: str,
    origin: ProspectOrigin | None,
    charge_sequence: int | None,
    charge_grant_id: int | None,
    refund_sequence: int | None,
    story: str | None,
    told: Cause | None,
) -> Prospect:
    """The prospect of a row; `told` is the one event that was told of it, of rows without a story."""
    if story is not None:
        return _load(prospect_id, story)
    if told is None:
        return Prospect(prospect_id)
    if told.type == OPENING:
        told = replace(told, type=f"prospect-{origin}", occurred_at=LONG_AGO)
    charges = []
    if charge_sequence is not None:
        is_settled = refund_sequence is not None
        charges.append(Charge(charge_sequence, charge_grant_id, told.occurred_at, refund_sequence, is_settled))
    return Prospect(prospect_id, [told], charges)


def _is_plain(prospect: Prospect) -> bool:
    return (
        len(prospect.told) == 1
        and (prospect.told[0].type in ORIGIN_OF or prospect.told[0].type == BOUNCED)
        and not prospect.stays_past
        and not any(charge.is_settled or charge.is_requested for charge in prospect.charges)
    )


def _dump(prospect: Prospect) -> str:
    story = {
        "told": [[c.position, c.source, c.id, c.type, c.occurred_at.isoformat()] for c in prospect.told],
        "charges": [
            [c.sequence, c.grant_id, c.at.isoformat(), c.refund_sequence, c.is_settled, c.is_requested]
            for c in prospect.charges
        ],
        "stays_past": prospect.stays_past,
    }
    return json.dumps(story, separators=(",", ":"))


def _load(prospect_id: str, story: str) -> Prospect:
    read = json.loads(story)
    told = [
        Cause(position, source, event_id, event_type, datetime.fromisoformat(at), prospect_id)
        for position, source, event_id, event_type, at in read["told"]
    ]
    charges = [
        Charge(sequence, grant_id, datetime.fromisoformat(at), *rest)
        for sequence, grant_id, at, *rest in read["charges"]
    ]
    return Prospect(prospect_id, told, charges, read["stays_past"])
