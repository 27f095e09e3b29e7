"""The factor on all time limits of the tests, for slow machines."""

from __future__ import annotations

import os
from typing import Final

VARIABLE: Final = "CREDITS_TEST_PATIENCE"

# Read once: some tests take all that begins like a setting of the service out of the environment.
_FACTOR = float(os.environ.get(VARIABLE, "1"))


def patience(seconds: float) -> float:
    """Return the limit of a wait; what the service promises to do in time is no such limit."""
    return seconds * _FACTOR
