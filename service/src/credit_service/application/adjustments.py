"""Adjustments: an operator gives credits to one account, or takes some from it."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal, Protocol, cast

from credit_contracts.times import Instant
from credit_service.application.commands.execute import execute
from credit_service.application.commands.read_progress import ReadProgress
from credit_service.application.ports import Ledger
from credit_service.application.queries import JsonAnswer, Reads
from credit_service.application.text_limits import (
    COMMAND_ID_CHARACTERS_MAX,
    OPERATOR_CHARACTERS_MAX,
    REASON_CHARACTERS_MAX,
    require_text,
)
from credit_service.domain.adjustment import CREDITS_MAX
from credit_service.domain.command import Adjust, Command, command_of
from credit_service.domain.rules import Rules

AdjustmentRefusal = Literal[
    "unknown-account", "not-open", "being-opened", "below-zero", "expired", "conflict", "account-full", "behind"
]


class AdjustmentChange(JsonAnswer):
    """The balance change of one adjustment; both balances None: unlimited; the credits are in a grant beneath."""

    amount: int
    expires_at: Instant | None
    operator: str
    reason: str
    previous_balance: int | None
    balance: int | None
    sequence: int
    recorded_at: Instant


class AdjustmentAnswer(JsonAnswer):
    """The result of an adjustment; `change` is None where it was refused.

    `conflict`: the command's id was used before for another command. `is_new` is False for a repeated command.
    `balance` is the account's current one, None if unlimited or unknown. `behind`: the account's events are read up to
    `read_until` only.
    """

    account_id: str
    command_id: str
    outcome: Literal["adjusted"] | AdjustmentRefusal
    is_new: bool
    balance: int | None
    change: AdjustmentChange | None
    read_until: Instant | None = None


class Adjustments(Protocol):
    """The adjustments in the ledger. Raises `LedgerUnavailable`."""

    async def change_of(self, account_id: str, key: bytes) -> AdjustmentChange | None:
        """The change of the adjustment with that idempotency key; None if there is none."""


def adjustment_command(account_id: str, adjustment: Adjust, command_id: str) -> Command:
    """The command of an adjustment.

    Raises `ValueError` on an amount of 0 or out of bounds, on an expiry of what is taken or without a zone, and on an
    empty or overlong text.
    """
    require_text("operator", adjustment.operator, OPERATOR_CHARACTERS_MAX)
    require_text("reason", adjustment.reason, REASON_CHARACTERS_MAX)
    require_text("command id", command_id, COMMAND_ID_CHARACTERS_MAX)
    if not 0 < abs(adjustment.amount) <= CREDITS_MAX:
        raise ValueError(f"amount: between 1 and {CREDITS_MAX:,} credits, given or taken")
    if adjustment.expires_at is None:
        return command_of(account_id, adjustment, command_id)
    if adjustment.amount < 0:
        raise ValueError("expiry: credits that are taken do not expire")
    if adjustment.expires_at.tzinfo is None:
        raise ValueError("expiry: a time needs its zone")
    try:
        ends = adjustment.expires_at.astimezone(UTC)
    except OverflowError:
        raise ValueError("expiry: outside the years 1 to 9999 in UTC") from None
    # An instant has one text only, which is compared when the command is repeated.
    return command_of(account_id, replace(adjustment, expires_at=ends), command_id)


@dataclass(frozen=True, slots=True)
class AdjustmentDesk:
    """Adjusts accounts in `ledger`; `reads` and `kept` read its state, `reading` how far their events are read."""

    ledger: Ledger
    rules: Rules
    reads: Reads
    kept: Adjustments
    reading: ReadProgress | None = None

    async def adjust(
        self,
        account_id: str,
        amount: int,
        *,
        expires_at: datetime | None,
        operator: str,
        reason: str,
        command_id: str,
    ) -> AdjustmentAnswer:
        """Gives (`amount` above zero) or takes credits; operator and reason are kept with the change.

        Given credits expire at `expires_at`; None: never. A repeated `command_id` has the same answer, and no second
        effect. Raises `ValueError` as `adjustment_command` does; `LedgerUnavailable` if the ledger is away for longer
        than a few attempts: the result is then unknown, and the same id may be given again.
        """
        command = adjustment_command(account_id, Adjust(amount, expires_at, operator, reason), command_id)
        # A command on an unknown account must not create it.
        if await self.reads.account(account_id) is None:
            return _answer(account_id, command_id, "unknown-account")
        (answer,) = await execute(self.ledger, self.rules, [command], self.reading)
        found = await self.reads.account(account_id)
        balance = found.balance if found else None
        if answer.outcome != "adjusted":
            refusal = cast("AdjustmentRefusal", answer.outcome)
            return _answer(account_id, command_id, refusal, balance, answer.read_until)
        return AdjustmentAnswer(
            account_id=account_id,
            command_id=command_id,
            outcome="adjusted",
            is_new=answer.is_new,
            balance=balance,
            change=await self.kept.change_of(account_id, command.key),
        )


def _answer(
    account_id: str,
    command_id: str,
    refusal: AdjustmentRefusal,
    balance: int | None = None,
    read_until: datetime | None = None,
) -> AdjustmentAnswer:
    return AdjustmentAnswer(
        account_id=account_id,
        command_id=command_id,
        outcome=refusal,
        is_new=False,
        balance=balance,
        change=None,
        read_until=read_until,
    )
