"""The size of a transaction: smaller after one that ran out of time, larger again after some that succeeded."""

import sys

CAME_THROUGH_TO_GROW = 4
"""Full shares that succeed before the next one is twice as large: one that is too large costs its whole time."""


class BatchShare:
    """How many items, such as records, one transaction takes; without a bound until one runs out of time."""

    def __init__(self) -> None:
        self._most = sys.maxsize
        self._came_through = 0

    def of(self, number: int) -> int:
        """How many of so many items are taken together; at least one."""
        return min(number, self._most)

    def ran_out(self, number: int) -> None:
        """Notes that so many items ran out of time."""
        self._most = max(1, number // 2)
        self._came_through = 0

    def came_through(self, number: int) -> None:
        """Notes that so many items succeeded; fewer than a share do not let it grow."""
        if self._most == sys.maxsize or number < self._most:
            return
        self._came_through += 1
        if self._came_through == CAME_THROUGH_TO_GROW:
            self._most, self._came_through = min(2 * self._most, sys.maxsize), 0
