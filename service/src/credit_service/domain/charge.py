"""Charges one credit for a prospect that comes onto the account."""

from dataclasses import replace

from credit_contracts.outgoing import SERVICE_SOURCE
from credit_service.domain.account import Account
from credit_service.domain.batch import Batch
from credit_service.domain.event import Cause
from credit_service.domain.grant import first_to_burn
from credit_service.domain.prospect import Charge, Prospect


def take_credit(account: Account, prospect: Prospect, cause: Cause, batch: Batch) -> Charge | None:
    """Charges one credit; None if no grant has a credit left.

    On an unlimited plan the charge is recorded and takes no grant.
    """
    if cause.source == SERVICE_SOURCE:
        # The history has the type of the opened prospect; the published cause has the type of the recorded decision.
        cause = replace(cause, type="opening")
    grant = None
    if not account.unlimited:
        grant = first_to_burn(account.grants.values())
        if grant is None:
            return None
        account.take_from(grant, 1)
    sequence = account.record("charge", cause, [(grant.grant_id, -1)] if grant else [], batch)
    charge = Charge(sequence, grant.grant_id if grant else None, cause.occurred_at)
    prospect.charges.append(charge)
    return charge
