"""A wrong e-mail opens a refund request, which an operator decides once."""

from dataclasses import replace

from credit_service.domain.account import Account
from credit_service.domain.batch import Batch
from credit_service.domain.command import CommandRefusal, DecideRefund
from credit_service.domain.decision import DecidedRequest, Outcome, RefundRequest, RequestStatus
from credit_service.domain.event import EARLIEST, Cause
from credit_service.domain.prospect import Charge, Prospect
from credit_service.domain.refund import give_back


def request_refund(account: Account, prospect: Prospect, charge: Charge, cause: Cause, batch: Batch) -> None:
    """Opens the request for a charge that was not refunded and has no request yet."""
    charge.is_requested = True
    charge.at = cause.occurred_at
    subject = (account.account_id, charge.sequence, prospect.prospect_id, cause.position)
    batch.out.requests.append(RefundRequest(*subject, grant_id=charge.grant_id if charge.sequence > 0 else None))


def refuse_decision(account: Account, data: DecideRefund) -> CommandRefusal | None:
    """The reason why the request cannot be decided; None if it can."""
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
    """Refunds an approved request as a bounce would; a rejected charge gets no other request."""
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
    # Its stay is closed, and a waiting request outlives that. A refund needs only its sequence and its grant.
    return Charge(request.charge_sequence, request.grant_id, EARLIEST, is_requested=True)
