"""An account that is opened in several transactions ends as one that was opened in one, whatever comes in between."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from credit_contracts.incoming import EmailBounced, IncomingData, PlanChanged, ProspectDeleted, ProspectGenerated
from credit_service.domain.command import CommandData, OpenAccount, OpenProspect, OpenPurchase, command_of
from credit_service.domain.event import Incoming, Wake
from credit_service.domain.rules import Rules
from support.domain import ACCOUNT, Story, event
from support.examples import examples

if TYPE_CHECKING:
    from collections.abc import Sequence

BEGAN = datetime(2026, 1, 20, tzinfo=UTC)
OPENED = OpenAccount("plan", 3, None, None, datetime(2025, 5, 1, tzinfo=UTC), "UTC", 2)
PROSPECTS = st.sampled_from(["ann", "bob", "cy", "dee"])

rows = st.one_of(
    st.builds(OpenProspect, PROSPECTS, st.sampled_from(["generated", "exported", "imported"])),
    st.builds(OpenPurchase, st.sampled_from(["b-1", "b-2"]), st.integers(1, 3), st.none()),
)
events = st.one_of(
    st.builds(ProspectGenerated, account_id=st.just(ACCOUNT), prospect_id=PROSPECTS),
    st.builds(EmailBounced, account_id=st.just(ACCOUNT), prospect_id=PROSPECTS),
    st.builds(ProspectDeleted, account_id=st.just(ACCOUNT), prospect_id=PROSPECTS),
    st.builds(PlanChanged, account_id=st.just(ACCOUNT), plan_id=st.just("p"), monthly_credits=st.integers(0, 9)),
)
batches = st.lists(
    st.tuples(
        st.lists(rows, max_size=4, unique_by=lambda row: getattr(row, "prospect_id", getattr(row, "purchase_id", ""))),
        st.lists(st.tuples(events, st.integers(1, 5)), max_size=4),
        st.booleans(),
    ),
    min_size=1,
    max_size=5,
)


def opens(story: Story, data: Sequence[CommandData], *, leaves_open: bool) -> None:
    story.batch([replace(command_of(ACCOUNT, row), leaves_open=leaves_open) for row in data])


def ends(story: Story) -> tuple[object, ...]:
    """All that came of it: sweeps let in what waits."""
    while story.waiting:
        story.batch([Wake(ACCOUNT, BEGAN, 0)])
    decided = [(d.id, d.outcome) for d in story.decisions]
    changes = [(c.sequence, c.reason, c.delta, c.balance, c.cause.id) for c in story.changes]
    return decided, changes, story.held, story.rows.prospects


@settings(max_examples=examples(200))
@given(batches)
def test_what_comes_between_two_batches_comes_behind_the_last(
    batches: list[tuple[list[CommandData], list[tuple[IncomingData, int]], bool]],
) -> None:
    parted, whole = (Story(Rules(unparked_max=2), now=BEGAN + timedelta(days=1)) for _ in range(2))
    all_rows: list[CommandData] = [OPENED]
    at = BEGAN
    came: list[Incoming] = []
    for number, (more, meanwhile, is_swept) in enumerate(batches):
        is_last = number == len(batches) - 1
        given_rows = [OPENED, *more] if number in (0, len(batches) - 1) else more
        opens(parted, given_rows, leaves_open=not is_last)
        all_rows += more
        for data, minutes in meanwhile:
            at += timedelta(minutes=minutes)
            came.append(event(data, at, f"e-{len(came)}"))
            parted.batch([came[-1]])
        if is_swept:
            parted.batch([Wake(ACCOUNT, at, 9)])
    opens(whole, all_rows, leaves_open=False)
    for one in came:
        whole.batch([one])

    assert ends(parted) == ends(whole)
