"""The checks of the ledger: events, rows and requests that wait, and for how long."""

from collections.abc import Sequence

from credit_service.application.doctor.check import RECENT_SECONDS, Check, CheckState, age, counted, ok, some
from credit_service.application.doctor.facts import (
    BacklogFacts,
    BeingOpened,
    Filling,
    OpenOperation,
    ParkedFacts,
    SetAside,
    WaitingLetters,
)
from credit_service.domain.room import ACCOUNTS_MAX, FILLING

OUTBOX_SECONDS_WARNING = 60.0
OUTBOX_SECONDS_WRONG = 600.0
CLAIM_SECONDS_WARNING = 60.0
"""A transaction of the relay takes a second or two."""
PARKED_SECONDS_WARNING = 3_600.0
OPENING_SECONDS_WARNING = 600.0
"""A batch of rows takes a second or two, and an account has a batch for every 2,000 rows."""
TIMER_SECONDS_WARNING = 600.0
"""Timers wait ten seconds for late messages, and for topics that are not read to their ends."""
OPERATION_SECONDS_WARNING = 3_600.0


def outbox(waiting: BacklogFacts) -> Check:
    """Whether events are published in time."""
    if not waiting.things or waiting.oldest_seconds is None:
        return ok("outbox", "nothing waits to be published")
    message = f"{counted(waiting.things)} to be published, the oldest for {age(waiting.oldest_seconds)}"
    if waiting.oldest_seconds < OUTBOX_SECONDS_WARNING:
        return ok("outbox", message)
    state: CheckState = "wrong" if waiting.oldest_seconds >= OUTBOX_SECONDS_WRONG else "warning"
    return Check("outbox", state, message, "look for `relay` in the service's log")


def set_aside(found: Sequence[SetAside]) -> Check:
    """Whether Kafka refuses a row, which an operator has to retry or drop."""
    if not found:
        return ok("set-aside", "Kafka has refused nothing")
    message = [
        f"{one.outbox_id} of {one.topic} for {age(one.age_seconds)} ({one.cause})"
        + (f" with {counted(one.waiting)} behind" if one.waiting else "")
        for one in found
    ]
    to_do = "correct the topic's settings or policy, then `credits outbox retry`; else `credits outbox drop`"
    return Check("set-aside", "wrong", some(message), to_do)


def claim(seconds: float | None) -> Check:
    """Whether a transaction of the relay hangs."""
    if seconds is None:
        return ok("claim", "no publishing is under way")
    if seconds < CLAIM_SECONDS_WARNING:
        return ok("claim", "a publishing is under way")
    to_do = "nothing, if a service runs: its relay ends it; else start one"
    return Check("claim", "warning", f"a publishing began {age(seconds)} ago, and did not end", to_do)


def parked(waiting: ParkedFacts, hours_max: int) -> Check:
    """Whether accounts wait for their first plan for too long."""
    if not waiting.events or waiting.oldest_seconds is None:
        return ok("parked", "no events wait for a plan")
    message = f"{waiting.events:,} events of {waiting.accounts:,} accounts wait for their first plan"
    message += f", the oldest for {age(waiting.oldest_seconds)}"
    if waiting.oldest_seconds < PARKED_SECONDS_WARNING:
        return ok("parked", message)
    to_do = f"have billing send the plans (`credits account list --parked`); dead letters after {hours_max} h"
    return Check("parked", "warning", message, to_do)


def openings(found: Sequence[BeingOpened]) -> Check:
    """Whether an account is half opened: its events wait until its other rows are opened."""
    if not found:
        return ok("openings", "no account is being opened")
    message = (
        f"the rows are not complete of {some([f'{one.account_id} (for {age(one.age_seconds)})' for one in found])}"
    )
    if found[0].age_seconds < OPENING_SECONDS_WARNING:
        return ok("openings", message)
    to_do = "run the same `credits open` again; if its file is lost, a file with the account's own row alone ends it"
    return Check("openings", "warning", f"{message}; their events wait", to_do)


def timers(due: BacklogFacts) -> Check:
    """Whether months turn and grants expire in time."""
    if not due.things or due.oldest_seconds is None or due.oldest_seconds < TIMER_SECONDS_WARNING:
        return ok("timers", "none is overdue")
    message = f"{counted(due.things)} accounts have a timer that is due, the oldest for {age(due.oldest_seconds)}"
    return Check(
        "timers", "warning", message, "timers wait until the topics are read to their ends; see lag and members"
    )


def accounts(filling: Sequence[Filling], last_account_no: int) -> Check:
    """Whether an account runs out of its numbers, or the ledger out of account numbers."""
    if last_account_no >= ACCOUNTS_MAX * FILLING:
        message = f"{int(last_account_no / ACCOUNTS_MAX * 100)} % of the {ACCOUNTS_MAX:,} numbers of accounts are used"
        state: CheckState = "wrong" if last_account_no >= ACCOUNTS_MAX else "warning"
        return Check(
            "accounts", state, message, "see the runbook, CreditsAccountFilling: there can be no more accounts soon"
        )
    if not filling:
        return ok("accounts", f"none has used {FILLING * 100:.0f} % of its numbers")
    # Rounded down: only a full account has 100 %.
    message = some([f"{one.account_id} {int(one.used * 100)} %" for one in filling])
    message = f"{counted(filling[0].accounts)} have used {FILLING * 100:.0f} % of their numbers: {message}"
    to_do = "have their customers go on under other accounts: the events of a full one become dead letters"
    return Check("accounts", "wrong" if filling[0].used >= 1 else "warning", message, to_do)


def dead_letters(waiting: Sequence[WaitingLetters]) -> Check:
    """Whether dead letters wait for an operator."""
    if not waiting:
        return ok("dead-letters", "none waits")
    message = some([f"{counted(one.letters)} {one.reason}" for one in waiting])
    to_do = "see `credits dead-letters list`"
    if left_out := sum(one.left_out for one in waiting):
        message = f"{message}; {counted(left_out)} kept without their bytes"
        to_do = f"{to_do}; retry these while Kafka still has their bytes"
    return Check("dead-letters", "warning", f"waiting: {message}", to_do)


def refund_requests(waiting: BacklogFacts) -> Check:
    """The number of waiting refund requests, which is no fault."""
    if not waiting.things or waiting.oldest_seconds is None:
        return ok("refund-requests", "none waits")
    return ok("refund-requests", f"{counted(waiting.things)} wait, the oldest for {age(waiting.oldest_seconds)}")


def operations(found: Sequence[OpenOperation]) -> Check:
    """Whether an operation was killed before its end."""
    recent = [o for o in found if OPERATION_SECONDS_WARNING <= o.age_seconds < RECENT_SECONDS]
    if not recent:
        return ok("operations", "every operation has ended")
    message = [f"{o.kind} {o.operation_id} of {o.operator}, begun {age(o.age_seconds)} ago" for o in recent]
    return Check(
        "operations", "warning", f"never ended: {some(message)}", "run it again; a repeat has no second effect"
    )
