"""Deciding what was loaded; an event that waited, and on which the rules fail, is a dead letter by itself."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import structlog

from credit_contracts.envelope import Event, encode
from credit_service.application.ports import DeadLetter, LedgerTransaction
from credit_service.application.record import Record, bytes_in_memory
from credit_service.domain.account import Account
from credit_service.domain.catch_up import Portion
from credit_service.domain.command import Command
from credit_service.domain.decide import decide
from credit_service.domain.decided import Decided
from credit_service.domain.event import Incoming, Wake
from credit_service.domain.parking import ParkedFailed
from credit_service.domain.rules import Rules

log = structlog.get_logger(__name__)

Item = TypeVar("Item", bound=Incoming | Wake | Command)
Choose = Callable[[Mapping[str, Account], Sequence[Item], datetime], Portion]
"""Says which part of the inputs one transaction decides."""


class RulesFailed(Exception):  # noqa: N818 - reads as the condition that it reports
    """The rules themselves failed on the inputs: a defect."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """What came of `portion`; `letters` are of events that had waited, and are none of the inputs."""

    now: datetime
    accounts: Mapping[str, Account]
    portion: Portion
    decided: Decided
    letters: Sequence[DeadLetter]


def all_of_them(_: Mapping[str, Account], inputs: Sequence[Incoming | Wake | Command], __: datetime) -> Portion:
    """Chooses all inputs."""
    return Portion(inputs, len(inputs))


async def weigh(
    transaction: LedgerTransaction,
    inputs: Sequence[Item],
    rules: Rules,
    choose: Choose[Item],
    loaded: Callable[[], None] = lambda: None,
) -> Weighed:
    """Locks, loads and decides what `choose` says, storing nothing; `loaded` is called once all is there.

    Where the rules fail on an event that waited, all is loaded and decided anew without it: nothing was written yet,
    and rules that fail once fail again. Raises `RulesFailed`, with the cause, where they fail on the inputs.
    """
    given_up: dict[tuple[str, bytes], str] = {}
    while True:
        accounts = await transaction.lock_and_load(inputs)
        now = await transaction.now()
        loaded()
        try:
            portion = choose(accounts, inputs, now)
            decided = decide(accounts, portion.inputs, now, rules, given_up)
        except ParkedFailed as error:
            failed = error.incoming
            given_up[failed.account_id, failed.key] = type(error.__cause__).__name__
            log.exception("rules failed on an event that had waited", type=failed.type)
        except Exception as error:
            raise RulesFailed from error
        else:
            return Weighed(now, accounts, portion, decided, _letters(decided, inputs))


def _letters(decided: Decided, inputs: Sequence[Item]) -> list[DeadLetter]:
    failed = [one for one in decided.refused if one.reason == "undecidable"]
    at_hand = {id(item) for item in inputs} if failed else set()
    return [
        encoded_anew(one.incoming, one.reason, one.detail or "") for one in failed if id(one.incoming) not in at_hand
    ]


def encoded_anew(incoming: Incoming, reason: str, detail: str) -> DeadLetter:
    """The letter of an event that was parked: of its original bytes only the known fields were kept."""
    encoded = encode(Event(incoming.source, incoming.id, incoming.type, incoming.occurred_at, incoming.data))
    timestamp_ms = int(incoming.occurred_at.timestamp() * 1000)
    size_bytes = bytes_in_memory(encoded.key, encoded.value, encoded.headers)
    record = Record(
        incoming.place, encoded.key, encoded.value, encoded.headers, timestamp_ms, incoming, incoming.order, size_bytes
    )
    return DeadLetter(record, reason, detail, is_encoded_anew=True)
