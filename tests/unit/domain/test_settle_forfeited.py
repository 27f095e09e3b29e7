"""A charge whose refund was forfeited stays paid, whatever event comes late."""

from __future__ import annotations

import pytest

from credit_service.domain.rules import LateRefund, Rules
from support.domain import Story


@pytest.fixture
def story() -> Story:
    """Ann was charged in January, and it is February."""
    story = Story(Rules(LateRefund("forfeit")))
    story.plan(10, "2026-01-01", anchor="2026-01-01")
    story.generate("ann", "2026-01-05")
    return story.wait("2026-02-01")


def test_a_late_delete_before_a_forfeited_bounce_charges_nothing(story: Story) -> None:
    assert story.bounce("ann", "2026-02-10") == "forfeited"

    assert story.delete("ann", "2026-01-20") == "deleted"
    assert story.balance == 10


def test_a_late_delete_before_a_wrong_email_charges_nothing_where_its_credit_is_forfeit(story: Story) -> None:
    assert story.stage("ann", "2026-02-10") == "refund-requested"

    assert story.delete("ann", "2026-01-20") == "deleted"
    assert story.balance == 10
    assert list(story.requests.values()) == ["overtaken"]


def test_a_late_delete_behind_a_late_import_charges_nothing_where_its_credit_is_forfeit(story: Story) -> None:
    assert story.imports("ann", "2026-01-02") == "forfeited"

    assert story.delete("ann", "2026-01-03") == "deleted"
    assert story.balance == 10


def test_a_second_bounce_of_a_forfeited_charge_is_nothing_more(story: Story) -> None:
    assert story.bounce("ann", "2026-02-10") == "forfeited"

    assert story.bounce("ann", "2026-02-11") == "no-effect"


def test_a_stay_that_was_imported_does_not_stand_for_the_one_that_was_paid() -> None:
    story = Story(Rules(LateRefund("forfeit")))
    story.plan(10, "2026-01-01", anchor="2026-01-01")
    story.imports("ann", "2026-01-02")
    story.delete("ann", "2026-01-03")
    story.generate("ann", "2026-01-05")
    story.stage("ann", "2026-02-10")

    assert story.delete("ann", "2026-01-20") == "deleted"
    assert story.balance == 10


def test_a_forfeited_charge_of_no_stay_goes_on_showing_and_stands_for_the_next_stay_that_costs() -> None:
    story = Story(Rules(LateRefund("forfeit")))
    story.plan(10, "2026-01-01", anchor="2026-01-01")
    story.generate("ann", "2026-01-19")
    story.stage("ann", "2026-03-14")
    assert story.imports("ann", "2026-01-10") == "forfeited"

    assert story.delete("ann", "2026-03-05") == "deleted"
    assert story.generate("ann", "2026-03-10") == "free"
    assert story.balance == 10
