"""A wrong e-mail asks for a refund: the request waits for a person, who decides it once."""

from dataclasses import replace

from credit_service.domain.account import Account
from credit_service.domain.batch import Batch
from credit_service.domain.command import CommandRefusal, DecideRefund
from credit_service.domain.decision import DecidedRequest, Outcome, RefundRequest, RequestStatus
from credit_service.domain.event import EARLIEST, Cause
from credit_service.domain.prospect import Charge, Prospect
from credit_service.domain.refund import give_back


def request_refund(account: Account, prospect: Prospect, charge: Charge, cause: Cause, batch: Batch) -> None:
    """Opens the request for a charge that was not given back, and never asked for before."""
    charge.is_requested = True
    charge.at = cause.occurred_at
    asked_by = (account.account_id, charge.sequence, prospect.prospect_id, cause.position)
    batch.out.requests.append(RefundRequest(*asked_by, grant_id=charge.grant_id if charge.sequence > 0 else None))


def refuse_decision(account: Account, data: DecideRefund) -> CommandRefusal | None:
    """Why the request cannot be decided any more, or was never there; None if it can."""
    request = account.requests.get(data.charge_sequence)
    if request is None:
        return "unknown-request"
    if request.status == "overtaken":
        return "already-refunded"
    if request.status != "waiting":
        return "already-decided"
    charge = _charge(account, request)
    if charge is None:
        return "unknown-request"
    return "already-refunded" if charge.is_settled else None


def decide_request(account: Account, data: DecideRefund, cause: Cause, batch: Batch) -> Outcome:
    """Approved, the credit goes back as after a bounce; rejected, it never does on another request."""
    request = account.requests[data.charge_sequence]
    status: RequestStatus = "approved" if data.is_approved else "rejected"
    account.put_request(replace(request, status=status))
    batch.out.decided_requests.append(
        DecidedRequest(account.account_id, data.charge_sequence, status, cause.position, data.operator, data.reason)
    )
    charge = _charge(account, request)
    if not data.is_approved or charge is None:
        return "rejected"
    account.mark_changed(request.prospect_id)
    return give_back(account, charge, cause, batch)


def _charge(account: Account, request: RefundRequest) -> Charge | None:
    prospect = account.prospects.get(request.prospect_id)
    if prospect is None:
        return None
    for charge in prospect.charges:
        if charge.sequence == request.charge_sequence:
            return charge
    if request.charge_sequence < 0:
        return None
    # Its stay is closed, which no request that waits is settled by. Where it was charged tells all that is still asked.
    return Charge(request.charge_sequence, request.grant_id, EARLIEST, is_requested=True)
