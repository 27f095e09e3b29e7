"""The refund desk: operators decide the requests that wrong e-mails opened, one by one or many at once."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Literal, cast

from credit_contracts.times import Instant
from credit_service import bounds
from credit_service.application.commands.execute import execute
from credit_service.application.commands.read_progress import ReadProgress
from credit_service.application.operations import OperationLog, recorded
from credit_service.application.ports import Ledger
from credit_service.application.queries import JsonAnswer
from credit_service.application.refunds.queries import RefundRequests
from credit_service.application.text_limits import (
    COMMAND_ID_CHARACTERS_MAX,
    OPERATOR_CHARACTERS_MAX,
    REASON_CHARACTERS_MAX,
    require_text,
)
from credit_service.domain.command import Answer, Command, DecideRefund, command_of
from credit_service.domain.rules import Rules

RequestOutcome = Literal[
    "refunded",
    "forfeited",
    "rejected",
    "unknown-request",
    "already-decided",
    "already-refunded",
    "being-opened",
    "unknown-account",
    "account-full",
    "behind",
]

WITH_EFFECT = {"refunded", "forfeited", "rejected"}


def refund_command(account_id: str, decision: DecideRefund, command_id: str) -> Command:
    """The command of a decision; raises `ValueError` on an empty or overlong text."""
    require_text("operator", decision.operator, OPERATOR_CHARACTERS_MAX)
    require_text("reason", decision.reason, REASON_CHARACTERS_MAX)
    require_text("command id", command_id, COMMAND_ID_CHARACTERS_MAX)
    return command_of(account_id, decision, command_id)


@dataclass(frozen=True, slots=True)
class RefundDesk:
    """Decides refund requests in `ledger`; `reading` knows how far the events of their accounts are read."""

    ledger: Ledger
    rules: Rules
    reading: ReadProgress | None = None

    async def decide(
        self, account_id: str, charge_sequence: int, *, approve: bool, operator: str, reason: str, command_id: str
    ) -> Answer:
        """Approves or rejects the request to refund the charge `charge_sequence`; operator and reason are kept with it.

        The answer's outcome is `refunded`, `forfeited` (its grant has expired and such refunds are forfeit) or
        `rejected`; a repeated `command_id` has the same answer, and no second effect. Otherwise it is the reason why
        there was no effect: `unknown-request`, `already-decided`, `already-refunded`, `account-full`,
        `being-opened`, `conflict` (the id was used before for another command), or `behind` (the account's events are
        not read yet). Raises `ValueError` as `refund_command` does, and `LedgerUnavailable` if the ledger is away for
        longer than a few attempts.
        """
        command = refund_command(account_id, DecideRefund(charge_sequence, approve, operator, reason), command_id)
        (answer,) = await execute(self.ledger, self.rules, [command], self.reading)
        return answer


class DecidedRefund(JsonAnswer):
    """The result of one request; `is_new` is False for a repeated command."""

    account_id: str
    charge_sequence: int
    outcome: RequestOutcome
    is_new: bool
    read_until: Instant | None = None

    @property
    def had_effect(self) -> bool:
        """Whether this command decided it, now or before."""
        return self.outcome in WITH_EFFECT


@dataclass(frozen=True, slots=True)
class RequestSelection:
    """Selects requests: of these charges of `account_id`, or all that wait and came up to `up_to`."""

    account_id: str | None
    charges: Sequence[int] | None = None
    up_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class RefundRound:
    """Decides many requests through `desk`, each by itself; a round of all waiting ones is recorded in `operations`."""

    desk: RefundDesk
    requests: RefundRequests
    operations: OperationLog

    async def decide(
        self, selection: RequestSelection, *, approve: bool, operator: str, reason: str
    ) -> AsyncGenerator[DecidedRefund]:
        """Approves or rejects, and returns the result of each once it is committed.

        Repeated by the same operator for the same reason, it has no second effect and the same answers: it is safe to
        repeat after any end. Raises as `RefundDesk.decide` does.
        """
        require_text("operator", operator, OPERATOR_CHARACTERS_MAX)
        require_text("reason", reason, REASON_CHARACTERS_MAX)
        if selection.account_id is not None and not await self.requests.knows(selection.account_id):
            # A command on an unknown account must not create it.
            for charge in selection.charges or ():
                yield _decided_refund(selection.account_id, charge, "unknown-account", is_new=False)
            return
        if selection.charges is not None and selection.account_id is not None:
            for charge in selection.charges:
                yield await self._decide(
                    selection.account_id, charge, approve=approve, operator=operator, reason=reason
                )
            return
        kind = "refunds-approve" if approve else "refunds-reject"
        async with recorded(self.operations, kind, operator, reason, {"account": selection.account_id}) as operation:
            async for account_id, charge in self._waiting(selection):
                decided = await self._decide(account_id, charge, approve=approve, operator=operator, reason=reason)
                operation.count(decided.outcome)
                yield decided

    async def _waiting(self, selection: RequestSelection) -> AsyncIterator[tuple[str, int]]:
        up_to = selection.up_to or (await self.requests.waiting(selection.account_id)).at
        page = await self.requests.page(selection.account_id, up_to, None, bounds.REQUESTS_PER_PAGE)
        while True:
            for line in page.lines:
                yield line.account_id, line.charge_sequence
            if page.after is None:
                return
            page = await self.requests.page(selection.account_id, up_to, page.after, bounds.REQUESTS_PER_PAGE)

    async def _decide(
        self, account_id: str, charge: int, *, approve: bool, operator: str, reason: str
    ) -> DecidedRefund:
        answer = await self.desk.decide(
            account_id,
            charge,
            approve=approve,
            operator=operator,
            reason=reason,
            command_id=_command_id(charge, operator, reason, approve=approve),
        )
        decided = _decided_refund(account_id, charge, cast("RequestOutcome", answer.outcome), is_new=answer.is_new)
        return decided if answer.read_until is None else decided.model_copy(update={"read_until": answer.read_until})


def _command_id(charge: int, operator: str, reason: str, *, approve: bool) -> str:
    """The id follows from the decision: a repeat has the same one, and another operator a different one."""
    digest = blake2b(f"{len(operator)}:{operator}{reason}".encode(), digest_size=8).hexdigest()
    return f"{'approve' if approve else 'reject'}:{charge}:{digest}"


def _decided_refund(account_id: str, charge: int, outcome: RequestOutcome, *, is_new: bool) -> DecidedRefund:
    return DecidedRefund(account_id=account_id, charge_sequence=charge, outcome=outcome, is_new=is_new)
