from __future__ import annotations

from datetime import timedelta

import pytest

from credit_service.bounds import HISTORY_MAX
from credit_service.domain.event import Cause
from credit_service.domain.prospect import Prospect, Stay, stays_of
from support.domain import ACCOUNT, Story, time

START = time("2026-01-01")
TYPES = {
    "G": "prospect-generated",
    "E": "prospect-exported",
    "I": "prospect-imported",
    "B": "email-bounced",
    "W": "prospect-stage-changed",
    "D": "prospect-deleted",
}


def cause(kind: str, number: int) -> Cause:
    """An event `number` hours after the start."""
    return Cause(number, "/tests", f"{number}", TYPES[kind], START + timedelta(hours=number), "ann")


def causes_of(kinds: str) -> list[Cause]:
    """Events such as `GBD`: generated, bounced, deleted, an hour apart, the first one at hour 1."""
    return [cause(kind, number) for number, kind in enumerate(kinds, start=1)]


def shown(stay: Stay) -> str:
    """A stay as `G1 B2 W3 D4`: its first event, its first bounce and wrong e-mail, and its delete."""
    letter = next(letter for letter, name in TYPES.items() if name == stay.brought_by.type)
    parts = [f"{letter}{stay.brought_by.position}"]
    parts += [f"B{stay.bounce.position}"] if stay.bounce else []
    parts += [f"W{stay.wrong_email.position}"] if stay.wrong_email else []
    parts += [f"D{int((stay.ended_at - START) / timedelta(hours=1))}"] if stay.ended_at else []
    return " ".join(parts)


@pytest.mark.parametrize(
    ("kinds", "stays"),
    [
        ("", []),
        ("G", ["G1"]),
        ("E", ["E1"]),
        ("I", ["I1"]),
        ("GEI", ["G1"]),
        ("IGE", ["I1"]),
        ("EG", ["E1"]),
        ("B", []),
        ("W", []),
        ("D", []),
        ("GB", ["G1 B2"]),
        ("GBB", ["G1 B2"]),
        ("GWW", ["G1 W2"]),
        ("BG", ["G2 B1"]),
        ("BBG", ["G3 B1"]),
        ("WBG", ["G3 B2 W1"]),
        ("BGB", ["G2 B1"]),
        ("GD", ["G1 D2"]),
        ("GDD", ["G1 D2"]),
        ("GDB", ["G1 D2"]),
        ("GDBG", ["G1 D2", "G4"]),
        ("GDWG", ["G1 D2", "G4"]),
        ("GDGB", ["G1 D2", "G3 B4"]),
        ("GBDG", ["G1 B2 D3", "G4"]),
        ("GDIDE", ["G1 D2", "I3 D4", "E5"]),
        ("BD", []),
        ("BDG", ["G3"]),
        ("DBG", ["G3"]),
        ("IBD", ["I1 B2 D3"]),
    ],
)
def test_a_history_has_these_stays(kinds: str, stays: list[str]) -> None:
    assert [shown(stay) for stay in stays_of(causes_of(kinds))] == stays


def test_a_late_event_takes_its_place() -> None:
    prospect = Prospect("ann")
    for cause in reversed(causes_of("GBDG")):
        prospect.record_event(cause)

    assert [cause.position for cause in prospect.history] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("hour", "belongs"),
    [(0, [True, False]), (1, [True, False]), (3, [True, False]), (4, [False, False]), (5, [False, True])],
    ids=["before anything was known", "when it came", "at its delete", "between two stays", "when it came again"],
)
def test_a_time_belongs_to_one_stay_at_most(hour: int, belongs: list[bool]) -> None:
    stays = stays_of([cause("G", 1), cause("D", 3), cause("G", 5)])

    assert [stay.holds(START + timedelta(hours=hour)) for stay in stays] == belongs


def test_a_prospect_with_a_long_story_is_still_free_and_refunded_once(hundred: Story) -> None:
    hundred.generate("ann")
    for _ in range(HISTORY_MAX + 3):
        assert hundred.export("ann") == "free"
    assert hundred.bounce("ann") == "refunded"
    for _ in range(HISTORY_MAX + 3):
        assert hundred.export("ann") == "free"

    assert hundred.bounce("ann") == "no-effect"
    assert hundred.log == ["plan_change +100", "charge -1", "refund +1"]


def test_a_prospect_that_comes_and_goes_for_ever_costs_each_time(hundred: Story) -> None:
    for _ in range(HISTORY_MAX):
        assert (hundred.generate("ann"), hundred.delete("ann")) == ("charged", "deleted")

    assert hundred.balance == 100 - HISTORY_MAX
    prospect = hundred.prospect("ann")
    assert prospect is not None
    assert prospect.stays_past + len(stays_of(prospect.history)) == HISTORY_MAX
    assert (ACCOUNT, "ann") in hundred.rows.prospects
