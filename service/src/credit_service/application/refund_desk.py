"""The refund desk: people decide the requests that wrong e-mails opened, through this one call."""

from dataclasses import dataclass

from credit_service.application.obey import obey
from credit_service.application.ports import Ledger
from credit_service.application.words import (
    COMMAND_ID_CHARACTERS_MAX,
    OPERATOR_CHARACTERS_MAX,
    REASON_CHARACTERS_MAX,
    hold_to_bound,
)
from credit_service.domain.command import Answer, DecideRefund
from credit_service.domain.decide import Rules
from credit_service.domain.idempotency import command_of


@dataclass(frozen=True, slots=True)
class RefundDesk:
    """Decides refund requests in `ledger`."""

    ledger: Ledger
    rules: Rules

    async def decide(
        self, account_id: str, charge_sequence: int, *, approve: bool, operator: str, reason: str, command_id: str
    ) -> Answer:
        """Approves or rejects the request to refund the charge `charge_sequence`; who and why are kept with it.

        The answer's outcome is `refunded`, `forfeited` (its grant has expired and such refunds are forfeit) or
        `rejected`; with the same `command_id` once more it is the same again, without a second effect. Otherwise it
        says why there was no effect: `unknown-request`, `already-decided`, `already-refunded`, or `conflict` (the id
        was used before for something else). Raises `ValueError` on an empty or overlong text and
        `LedgerUnavailable` if the ledger is away for longer than a few attempts.
        """
        hold_to_bound("operator", operator, OPERATOR_CHARACTERS_MAX)
        hold_to_bound("reason", reason, REASON_CHARACTERS_MAX)
        hold_to_bound("command id", command_id, COMMAND_ID_CHARACTERS_MAX)
        data = DecideRefund(charge_sequence, approve, operator, reason)
        (answer,) = await obey(self.ledger, self.rules, [command_of(account_id, data, command_id)])
        return answer
