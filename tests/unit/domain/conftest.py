from __future__ import annotations

import pytest

from support.domain import Story


@pytest.fixture
def story() -> Story:
    """A new account."""
    return Story()


@pytest.fixture
def hundred(story: Story) -> Story:
    """An account with 100 credits a month since 1 January 2026."""
    story.plan(100, "2026-01-01")
    return story
