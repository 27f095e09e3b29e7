"""Whatever is told of one prospect, in any order: forgetting changes nothing of what was charged, refunded or asked."""

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
"""What is told, such as `B`, and of which hour; `A` is a person who approves the request that waits longest."""


@st.composite
def stories(draw: st.DrawFn) -> list[Report]:
    """Mostly in order of occurrence, and many of a kind in a row; some come late, at times of others as well."""
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
class Telling:
    """One story, told under one bound."""

    story: Story
    told_max: int

    def tells(self, kind: str, hour: int, number: int) -> str:
        at = (START + timedelta(hours=hour)).isoformat()
        with small_bounds(TOLD_MAX=self.told_max):
            if kind == "A":
                waiting = sorted(n for n, status in self.story.requests.items() if status == "waiting")
                return self.story.decide_refund(min(waiting, default=99), at, approve=True, command=f"{number:03}")
            return self.story.happens(data_of(ACCOUNT, KINDS[kind], **fields_of(kind)), at, f"{number:03}")

    @property
    def prospect(self) -> Prospect:
        return self.story.prospect("ann") or Prospect("ann")


def begun(told_max: int, credits_a_month: int = 1_000) -> Telling:
    story = Story()
    with small_bounds(TOLD_MAX=told_max):
        story.plan(credits_a_month, "2026-01-01")
    return Telling(story, told_max)


def alive(changes: Sequence[Change]) -> set[int]:
    """The charges that were not given back."""
    charged = [change.sequence for change in changes if change.reason == "charge"]
    refunded = [change.refunds_sequence for change in changes if change.reason == "refund"]
    assert len(refunded) == len(set(refunded))
    assert set(refunded) <= set(charged)
    return set(charged) - {sequence for sequence in refunded if sequence is not None}


def falls_among_forgotten(report: Report, kept: Prospect, all_told: Sequence[Cause]) -> bool:
    """Whether it parts what was forgotten, or brings on what was: between the first and last report of a chapter."""
    kind, hour = report
    at = START + timedelta(hours=hour)
    known = {cause.position for cause in kept.history}
    chapters: list[list[Cause]] = [[]]
    for cause in all_told:
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


def stays_settled(telling: Telling) -> bool:
    """Whether nothing is left to be done once something was forgotten: neither charged nor given back nor asked."""
    prospect, account, batch = telling.prospect, Account(ACCOUNT, unlimited=True), Batch(NOW)
    cause = Cause(99, "/tests", "none", "email-bounced", START)
    settled = settle(account, prospect, cause, batch)
    return not (batch.out.changes or batch.out.requests or settled.outcomes)


@given(stories(), st.integers(4, 12))
@example([("G", 1), *[("E", n) for n in range(2, 40)], ("D", 41), ("B", 42)], 7)
@example([("W", 0), ("I", 1), *[("E", n) for n in range(2, 40)]], 7)
@example([("G", 1), ("W", 2), ("D", 3), *[("D", n) for n in range(4, 14)], ("A", 15)], 7)
@settings(max_examples=examples(400))
def test_forgetting_changes_nothing_of_what_was_done(reports: list[Report], told_max: int) -> None:
    bounded, whole = begun(told_max), begun(FOR_EVER)
    is_same, closed_alive = True, set[int]()
    for number, (kind, hour) in enumerate(reports):
        story, before = bounded.story, bounded.prospect
        changes, requests = len(story.changes), set(story.requests)
        is_same = is_same and not falls_among_forgotten((kind, hour), before, whole.prospect.history)
        said, said_of_all = bounded.tells(kind, hour, number), whole.tells(kind, hour, number)

        if said == "too-late":
            is_same = False
            assert before.is_closed_at(START + timedelta(hours=hour))
            assert (len(story.changes), set(story.requests), bounded.prospect) == (changes, requests, before)
        if is_same:
            assert said == said_of_all
            assert [(c.reason, c.delta) for c in story.changes] == [(c.reason, c.delta) for c in whole.story.changes]
            assert story.requests == whole.story.requests

        after = bounded.prospect
        assert len(after.history) <= max(told_max, SMALL["TOLD_MAX"])
        assert stays_settled(bounded)
        check(story.rows)
        # What is alive is a charge of a stay that is told of, or of one that was closed; of these no more are refunded
        # but by a person.
        still_alive = alive(story.changes)
        known = {charge.sequence for charge in after.charges if not charge.is_settled}
        assert known <= still_alive
        newly_closed = still_alive - known - closed_alive
        assert newly_closed <= {c.sequence for c in before.charges} | {c.sequence for c in story.changes[changes:]}
        assert not newly_closed or after.closed_until != before.closed_until
        gone = closed_alive - still_alive
        assert not gone or (kind, said, len(gone)) == ("A", "refunded", 1)
        closed_alive = still_alive - known
        assert story.held == 1_000 - len(still_alive)


@given(stories(), st.sampled_from([1, 2, 3, 5, 7, 9, 12]), st.sampled_from([0, 1, 2, 100]))
@settings(max_examples=examples(400))
def test_what_is_forgotten_is_what_the_model_forgets(
    reports: list[Report], told_max: int, credits_a_month: int
) -> None:
    telling, model = begun(told_max, credits_a_month=credits_a_month), Model(remembered=told_max)
    began = time("2026-01-01")
    model.happens("plan", "plan", began, began, limit=credits_a_month, effective=None, anchor=None, zone=None)
    for number, (kind, hour) in enumerate(reports):
        said = telling.tells(kind, hour, number)
        at = START + timedelta(hours=hour)
        if kind == "A":
            waiting = sorted(n for n, status in model.requests.items() if status == "waiting")
            expected = model.decide(min(waiting, default=99), approve=True, name=f"{number:03}", at=at)
        else:
            expected = model.happens(f"{number:03}", KINDS[kind], at, at, **fields_of(kind))
        assert said == expected
        assert telling.story.requests == model.requests
        changes = [(c.reason, c.delta, c.balance) for c in telling.story.changes]
        assert changes == model.changes


@pytest.mark.parametrize("told_max", [1, SMALL["TOLD_MAX"], bounds.TOLD_MAX])
@given(st.lists(st.tuples(st.sampled_from("GEIBW"), st.integers(0, 200)), min_size=1, max_size=80))
@settings(max_examples=examples(60))
def test_one_endless_stay_is_never_closed(told_max: int, reports: list[Report]) -> None:
    telling = begun(told_max)
    for number, (kind, hour) in enumerate(reports):
        assert telling.tells(kind, hour, number) != "too-late"

    assert telling.prospect.closed_until is None
    assert len(telling.prospect.history) <= max(told_max, SMALL["TOLD_MAX"])
    assert len(alive(telling.story.changes)) <= 1
