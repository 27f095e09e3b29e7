"""The number of examples of the property tests."""

from __future__ import annotations

import os

SHARE = float(os.environ.get("CREDITS_TEST_EXAMPLES", "0.25"))
"""The part of each test's full number: a quarter in `make test`, all in `make properties`, more by hand."""


def examples(full: int) -> int:
    """Return the number for this run, at least 1, of a test whose full number is `full`."""
    return max(1, round(full * SHARE))
