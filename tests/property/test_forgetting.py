"""For any events of one prospect, in any order: forgetting changes no charge, refund or request."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from credit_contracts.incoming import WRONG_EMAIL
from credit_service import bounds
from credit_service.domain.account import Account
from credit_service.domain.batch import Batch
from credit_service.domain.event import Cause
from credit_service.domain.prospect import DELETED, ORIGIN_OF, Prospect
from credit_service.domain.settle import settle
from property.machine import data_of
from property.model import Model
from property.test_domain import check
from support.domain import ACCOUNT, NOW, Story, time
from support.examples import examples
from support.small_bounds import SMALL, small_bounds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from credit_service.domain.decision import Change

START = time("2026-01-02")
FOR_EVER = 1_000_000
KINDS = {"G": "generated", "E": "exported", "I": "imported", "B": "bounced", "W": "staged", "D": "deleted"}

Report = tuple[str, int]
"""The kind of an event, such as `B`, and its hour; `A`: an operator approves the oldest waiting request."""


@st.composite
def stories(draw: st.DrawFn) -> list[Report]:
    """Reports mostly in order of occurrence, many of a kind in a row; some come late, some at the same time."""
    reports: list[Report] = []
    hour = 0
    for _ in range(draw(st.integers(1, 12))):
        kind = draw(st.sampled_from("GGEEIBBWWDDDA"))
        late = draw(st.sampled_from([0, 0, 0, 1, 3, 8, 40]))
        for _ in range(draw(st.sampled_from([1, 1, 1, 2, 5]))):
            hour += draw(st.integers(0, 2))
            reports.append((kind, max(hour - late, 0)))
    return reports


def fields_of(kind: str) -> dict[str, object]:
    of_kind: dict[str, dict[str, object]] = {"B": {"hard": True}, "W": {"stage": WRONG_EMAIL}}
    return {"prospect": "ann"} | of_kind.get(kind, {})


@dataclass
class BoundedStory:
    """One story under one bound of the history."""

    story: Story
    history_max: int

    def report(self, kind: str, hour: int, number: int) -> str:
        at = (START + timedelta(hours=hour)).isoformat()
        with small_bounds(HISTORY_MAX=self.history_max):
            if kind == "A":
                waiting = sorted(n for n, status in self.story.requests.items() if status == "waiting")
                return self.story.decide_refund(min(waiting, default=99), at, approve=True, command=f"{number:03}")
            return self.story.happens(data_of(ACCOUNT, KINDS[kind], **fields_of(kind)), at, f"{number:03}")

    @property
    def prospect(self) -> Prospect:
        return self.story.prospect("ann") or Prospect("ann")


def begun(history_max: int, credits_a_month: int = 1_000) -> BoundedStory:
    story = Story()
    with small_bounds(HISTORY_MAX=history_max):
        story.plan(credits_a_month, "2026-01-01")
    return BoundedStory(story, history_max)


def alive(changes: Sequence[Change]) -> set[int]:
    """The charges that were not refunded."""
    charged = [change.sequence for change in changes if change.reason == "charge"]
    refunded = [change.refunds_sequence for change in changes if change.reason == "refund"]
    assert len(refunded) == len(set(refunded))
    assert set(refunded) <= set(charged)
    return set(charged) - {sequence for sequence in refunded if sequence is not None}


def falls_among_forgotten(report: Report, kept: Prospect, all_causes: Sequence[Cause]) -> bool:
    """Whether it splits a forgotten stay, or begins it: between the first and the last report of a chapter."""
    kind, hour = report
    at = START + timedelta(hours=hour)
    known = {cause.position for cause in kept.history}
    chapters: list[list[Cause]] = [[]]
    for cause in all_causes:
        if not kept.is_closed_at(cause.occurred_at):
            chapters[-1].append(cause)
            if cause.type == DELETED:
                chapters.append([])
    for chapter in chapters:
        has_forgotten = any(cause.position not in known for cause in chapter)
        if has_forgotten and chapter[0].occurred_at <= at <= chapter[-1].occurred_at:
            first = next((cause.occurred_at for cause in chapter if cause.type in ORIGIN_OF), None)
            return kind == "D" or (kind in "GEI" and (first is None or at <= first))
    return False


def stays_settled(bounded: BoundedStory) -> bool:
    """Whether settling once more does nothing after a report was forgotten: no charge, no refund, no request."""
    prospect, account, batch = bounded.prospect, Account(ACCOUNT, unlimited=True), Batch(NOW)
    cause = Cause(99, "/tests", "none", "email-bounced", START)
    settled = settle(account, prospect, cause, batch)
    return not (batch.out.changes or batch.out.requests or settled.outcomes)


@given(stories(), st.integers(4, 12))
@example([("G", 1), *[("E", n) for n in range(2, 40)], ("D", 41), ("B", 42)], 7)
@example([("W", 0), ("I", 1), *[("E", n) for n in range(2, 40)]], 7)
@example([("G", 1), ("W", 2), ("D", 3), *[("D", n) for n in range(4, 14)], ("A", 15)], 7)
@settings(max_examples=examples(400))
def test_forgetting_changes_nothing_of_what_was_done(reports: list[Report], history_max: int) -> None:
    bounded, whole = begun(history_max), begun(FOR_EVER)
    is_same, closed_alive = True, set[int]()
    for number, (kind, hour) in enumerate(reports):
        story, before = bounded.story, bounded.prospect
        changes, requests = len(story.changes), set(story.requests)
        is_same = is_same and not falls_among_forgotten((kind, hour), before, whole.prospect.history)
        outcome, outcome_of_whole = bounded.report(kind, hour, number), whole.report(kind, hour, number)

        if outcome == "too-late":
            is_same = False
            assert before.is_closed_at(START + timedelta(hours=hour))
            assert (len(story.changes), set(story.requests), bounded.prospect) == (changes, requests, before)
        if is_same:
            assert outcome == outcome_of_whole
            assert [(c.reason, c.delta) for c in story.changes] == [(c.reason, c.delta) for c in whole.story.changes]
            assert story.requests == whole.story.requests

        after = bounded.prospect
        assert len(after.history) <= max(history_max, SMALL["HISTORY_MAX"])
        assert stays_settled(bounded)
        check(story.rows)
        # A charge that is alive belongs to a known stay or to a closed one; only an operator refunds the latter.
        still_alive = alive(story.changes)
        known = {charge.sequence for charge in after.charges if not charge.is_settled}
        assert known <= still_alive
        newly_closed = still_alive - known - closed_alive
        assert newly_closed <= {c.sequence for c in before.charges} | {c.sequence for c in story.changes[changes:]}
        assert not newly_closed or after.closed_until != before.closed_until
        gone = closed_alive - still_alive
        assert not gone or (kind, outcome, len(gone)) == ("A", "refunded", 1)
        closed_alive = still_alive - known
        assert story.held == 1_000 - len(still_alive)


@given(stories(), st.sampled_from([1, 2, 3, 5, 7, 9, 12]), st.sampled_from([0, 1, 2, 100]))
@settings(max_examples=examples(400))
def test_what_is_forgotten_is_what_the_model_forgets(
    reports: list[Report], history_max: int, credits_a_month: int
) -> None:
    bounded, model = begun(history_max, credits_a_month=credits_a_month), Model(remembered=history_max)
    began = time("2026-01-01")
    model.happens("plan", "plan", began, began, limit=credits_a_month, effective=None, anchor=None, zone=None)
    for number, (kind, hour) in enumerate(reports):
        outcome = bounded.report(kind, hour, number)
        at = START + timedelta(hours=hour)
        if kind == "A":
            waiting = sorted(n for n, status in model.requests.items() if status == "waiting")
            expected = model.decide(min(waiting, default=99), approve=True, name=f"{number:03}", at=at)
        else:
            expected = model.happens(f"{number:03}", KINDS[kind], at, at, **fields_of(kind))
        assert outcome == expected
        assert bounded.story.requests == model.requests
        changes = [(c.reason, c.delta, c.balance) for c in bounded.story.changes]
        assert changes == model.changes


@pytest.mark.parametrize("history_max", [1, SMALL["HISTORY_MAX"], bounds.HISTORY_MAX])
@given(st.lists(st.tuples(st.sampled_from("GEIBW"), st.integers(0, 200)), min_size=1, max_size=80))
@settings(max_examples=examples(60))
def test_one_endless_stay_is_never_closed(history_max: int, reports: list[Report]) -> None:
    bounded = begun(history_max)
    for number, (kind, hour) in enumerate(reports):
        assert bounded.report(kind, hour, number) != "too-late"

    assert bounded.prospect.closed_until is None
    assert len(bounded.prospect.history) <= max(history_max, SMALL["HISTORY_MAX"])
    assert len(alive(bounded.story.changes)) <= 1
