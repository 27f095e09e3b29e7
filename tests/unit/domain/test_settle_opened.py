"""A prospect that was opened with its account, and whose late delete came before its refund."""

from __future__ import annotations

import pytest

from support.domain import Story


@pytest.fixture
def story() -> Story:
    """Ann was opened with her account; her e-mail bounced, and a late delete occurred before that."""
    story = Story()
    story.open_account(10, "2026-01-01", remaining=5)
    story.open_prospect("ann", "generated")
    assert story.bounce("ann", "2026-01-09") == "refunded"
    assert story.delete("ann", "2026-01-05") == "deleted"
    return story


def test_it_is_charged_anew(story: Story) -> None:
    assert story.log == ["opening +5", "refund +1", "charge -1"]


def test_the_charge_names_its_cause_as_the_ledger_does(story: Story) -> None:
    charge = story.changes[-1]
    decision = next(d for d in story.decisions if d.position == charge.cause.position)

    assert (charge.cause.source, charge.cause.id, charge.cause.type) == (decision.source, decision.id, decision.type)
