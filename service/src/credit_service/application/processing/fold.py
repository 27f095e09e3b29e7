"""The fold: locks, loads and decides the inputs of one transaction. Every change of a balance goes through it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TypeVar

import structlog

from credit_service.application.errors import Undecidable
from credit_service.application.ports import DeadLetter, LedgerTransaction, ToStore
from credit_service.application.processing.outbox_events import outbox_rows
from credit_service.application.processing.parked_letter import encoded_anew
from credit_service.domain.account import Account
from credit_service.domain.catch_up import Input, Portion, next_portion
from credit_service.domain.command import Command
from credit_service.domain.decide import decide
from credit_service.domain.decided import Decided
from credit_service.domain.event import Incoming, Wake
from credit_service.domain.parking import ParkedFailed
from credit_service.domain.rules import Rules

log = structlog.get_logger(__name__)

Item = TypeVar("Item", bound=Incoming | Wake | Command)
Choose = Callable[[Mapping[str, Account], Sequence[Item], datetime], Portion]
"""Chooses the part of the inputs that one transaction decides."""


@dataclass(frozen=True, slots=True)
class Folded:
    """The result of `inputs`, to be stored: they are the first `taken` of the given ones, or turns before them."""

    what: ToStore
    inputs: Sequence[Input]
    taken: int


async def fold(
    transaction: LedgerTransaction,
    inputs: Sequence[Item],
    rules: Rules,
    step: Callable[[str], None] = lambda _: None,
    *,
    choose: Choose[Item] | None = None,
    in_one_go: bool = False,
) -> Folded:
    """Locks, loads and decides, and stores nothing; calls `step` with the name of each step that is done.

    Where `inputs` bring more turns of months than one transaction takes on, it decides the first part of them only, or
    turns that precede them, as `choose` says (`next_portion` by default), unless all is wanted `in_one_go`. Where the
    rules fail on a parked event, that becomes a dead letter, and all is loaded and decided anew without it: nothing was
    written yet, and rules that fail once fail again. Raises `Undecidable` where they fail on the inputs, and what the
    transaction raises.
    """
    if in_one_go or not rules.runs_timers:
        choose = _all_of_them
    elif choose is None:
        choose = partial(next_portion, first_plan_age_months_max=rules.first_plan_age_months_max)
    given_up: dict[tuple[str, bytes], str] = {}
    while True:
        accounts = await transaction.lock_and_load(inputs)
        now = await transaction.now()
        step("load")
        try:
            portion = choose(accounts, inputs, now)
            decided = decide(accounts, portion.inputs, now, rules, given_up)
        except ParkedFailed as error:
            failed = error.incoming
            given_up[failed.account_id, failed.key] = type(error.__cause__).__name__
            log.exception("rules failed on a parked event", type=failed.type)
        except Exception as error:
            raise Undecidable(type(error).__name__) from error
        else:
            what = ToStore(now, accounts, decided, outbox_rows(decided), _letters(decided, inputs))
            return Folded(what, *portion)


def _all_of_them(_: Mapping[str, Account], inputs: Sequence[Input], __: datetime) -> Portion:
    return Portion(inputs, len(inputs))


def _letters(decided: Decided, inputs: Sequence[Input]) -> list[DeadLetter]:
    failed = [one for one in decided.refused if one.reason == "undecidable"]
    given = {id(item) for item in inputs} if failed else set()
    return [encoded_anew(one.incoming, one.reason, one.detail or "") for one in failed if id(one.incoming) not in given]
