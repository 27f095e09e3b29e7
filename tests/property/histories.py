"""Histories to draw from: few accounts and prospects over several months, so that things collide."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from credit_contracts.incoming import (
    WRONG_EMAIL,
    CreditsPurchased,
    EmailBounced,
    IncomingData,
    PlanChanged,
    ProspectDeleted,
    ProspectExported,
    ProspectGenerated,
    ProspectImported,
    ProspectStageChanged,
    ProspectTransferred,
)
from credit_service.domain.command import (
    Adjust,
    Command,
    CommandData,
    DecideRefund,
    OpenAccount,
    OpenProspect,
    OpenPurchase,
    command_of,
)
from credit_service.domain.event import Incoming, Wake
from credit_service.domain.rules import LateRefund, Rules
from support.domain import NOW, event

if TYPE_CHECKING:
    from credit_contracts.incoming import BounceType

Item = Incoming | Wake | Command

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)

names = st.sampled_from(["acme", "bolt"])
prospects = st.sampled_from(["ann", "bob", "cy", "dee"])
limits = st.sampled_from([None, 0, 1, 2, 3, 5, 20])

# Days from the plan's own time; whole days meet the turns of the month, which are at midnight too.
_effective_days = st.sampled_from([None, None, None, -20, -1, 0, 1, 5, 31, 45])
_gap_days = st.sampled_from([0, 0, 0, 0.01, 0.01, 1, 1, 3, 10, 28, 31, 70])
_late_days = st.sampled_from([0, 0, 0, 0, 0, 1, 10, 40])


def rules(unparked_max: int = 1_000) -> st.SearchStrategy[Rules]:
    late_refunds = st.sampled_from([LateRefund(), LateRefund("days", 5), LateRefund("days", 45), LateRefund("forfeit")])
    return late_refunds.map(lambda late_refund: Rules(late_refund, unparked_max))


@st.composite
def _steps(draw: st.DrawFn, kinds: list[str]) -> tuple[str, str, str, float, float, int | None, float | None]:
    return (
        draw(names),
        draw(st.sampled_from(kinds)),
        draw(prospects),
        draw(_gap_days),
        draw(_late_days),
        draw(limits),
        draw(_effective_days),
    )


def data_of(
    account_id: str, kind: str, prospect_id: str, at: datetime, limit: int | None, effective_days: float | None
) -> IncomingData:
    match kind:
        case "plan":
            effective_at = None if effective_days is None else at + effective_days * DAY
            return PlanChanged(
                account_id=account_id, plan_id="p", monthly_credits=limit, effective_at=effective_at,
                billing_anchor_at=START, time_zone="Europe/Berlin" if account_id == "bolt" else None,
            )  # fmt: skip
        case "purchase":
            # Named like a prospect, so that the same purchase is reported more than once.
            expires_at = None if effective_days is None else at + (abs(effective_days) or 31) * DAY
            return CreditsPurchased(
                account_id=account_id, purchase_id=prospect_id, credits=limit or 4, expires_at=expires_at
            )
        case "generate":
            return ProspectGenerated(account_id=account_id, prospect_id=prospect_id)
        case "export":
            return ProspectExported(account_id=account_id, prospect_id=prospect_id)
        case "import":
            return ProspectImported(account_id=account_id, prospect_id=prospect_id)
        case "transfer":
            return ProspectTransferred(account_id=account_id, prospect_id=prospect_id)
        case "delete":
            return ProspectDeleted(account_id=account_id, prospect_id=prospect_id)
        case "wrong email" | "stage":
            stage = WRONG_EMAIL if kind == "wrong email" else "contacted"
            return ProspectStageChanged(account_id=account_id, prospect_id=prospect_id, stage=stage)
        case _:
            bounce_type: BounceType = "soft" if kind == "soft bounce" else "hard"
            return EmailBounced(account_id=account_id, prospect_id=prospect_id, bounce_type=bounce_type)


KINDS = [
    *("plan", "plan", "purchase"),
    *("generate", "generate", "generate", "generate", "export", "import"),
    *("bounce", "bounce", "wrong email", "delete", "soft bounce", "stage", "transfer"),
]


@st.composite
def histories(
    draw: st.DrawFn, *, wakes: bool = True, late: bool = True, reused_ids: bool = True, written_late: bool = False
) -> list[Incoming | Wake]:
    """Events in their order of arrival; some late, some with an id that was there before, and wakes between them."""
    items: list[Incoming | Wake] = []
    at = START
    steps = draw(st.lists(_steps([*KINDS, "wake"] if wakes else KINDS), max_size=40))
    for number, (name, kind, prospect, gap_days, late_days, limit, effective_days) in enumerate(steps):
        at += gap_days * DAY
        if kind == "wake":
            items.append(Wake(name, at, timers_max=2))
            continue
        occurred_at = at - late_days * DAY if late else at
        data = data_of(name, kind, prospect, occurred_at, limit, effective_days)
        # Every eighth takes an id of its neighbourhood: a repeat, or a conflict.
        event_id = number - number % 4 if reused_ids and number % 8 == 7 else number
        # A plan may come to its topic long after.
        appended_at = at + (100 * DAY if kind == "plan" and written_late and number % 3 == 0 else 0 * DAY)
        items.append(event(data, occurred_at, f"{event_id}", appended_at=appended_at))
    return items


@st.composite
def commands(draw: st.DrawFn) -> Command:
    """What people may order at the end of a history; refunds of charges that may be there."""
    return command_of(draw(names), draw(_orders), command_id=draw(st.sampled_from(["c-1", "c-2", "c-3", "c-4"])))


_orders: st.SearchStrategy[CommandData] = st.one_of(
    st.builds(
        DecideRefund,
        charge_sequence=st.integers(-6, 20),
        is_approved=st.booleans(),
        operator=st.just("ops"),
        reason=st.just("a reason"),
    ),
    st.builds(
        Adjust,
        amount=st.integers(-9, 9).filter(bool),
        expires_at=st.sampled_from([None, None, NOW - DAY, NOW + DAY, NOW + 100 * DAY]),
        operator=st.just("ops"),
        reason=st.just("a reason"),
    ),
    st.builds(OpenAccount, st.just("p"), limits, st.none(), st.none(), st.just(START), st.just("UTC"), st.just(2)),
    st.builds(OpenPurchase, prospects, st.just(3), st.none()),
    st.builds(OpenProspect, prospects, st.sampled_from(["generated", "exported", "imported"])),
)


@st.composite
def ordered_about(draw: st.DrawFn, history: st.SearchStrategy[list[Incoming | Wake]]) -> list[Item]:
    """A history with commands: some before it, most after it."""
    before, behind = draw(st.lists(commands(), max_size=3)), draw(st.lists(commands(), max_size=8))
    return [*before, *draw(history), *behind]


PROSPECT_KINDS = ["generate", "generate", "export", "import", "transfer", "bounce", "wrong email", "delete"]


@st.composite
def ample_months(draw: st.DrawFn, apart: timedelta = timedelta(hours=1)) -> list[Incoming]:
    """The events of one account with ample credits, hours `apart`, so that no period ends between them.

    Prospects are deleted and brought on again, and some events contradict others.
    """
    few = draw(st.sampled_from([["ann"], ["ann", "bob"], ["ann", "bob", "cy"]]))
    kinds = draw(st.lists(st.tuples(st.sampled_from([*PROSPECT_KINDS, "purchase"]), st.sampled_from(few)), max_size=12))
    return [_apart(number * apart, kind, prospect) for number, (kind, prospect) in enumerate([("plan", ""), *kinds])]


def _apart(after: timedelta, kind: str, prospect: str) -> Incoming:
    at = START + after
    # Purchases never expire and are all of one size, since it is the first to arrive that counts.
    limit, effective_days = (7, None) if kind == "purchase" else (1_000, None)
    return event(data_of("acme", kind, prospect, at, limit, effective_days), at, f"{after}")


@st.composite
def interleaved(draw: st.DrawFn, events: list[Incoming]) -> list[Incoming]:
    """`events` in an order in which they may arrive: each topic keeps its own."""
    topics: dict[str, list[Incoming]] = {}
    for one in events:
        topics.setdefault(one.type, []).append(one)
    arrived = []
    while topics:
        topic = draw(st.sampled_from(sorted(topics)))
        arrived.append(topics[topic].pop(0))
        if not topics[topic]:
            del topics[topic]
    return arrived
