"""How much one transaction takes on: less after one that ran out of time, more again once some have come through."""

import sys

CAME_THROUGH_TO_GROW = 4
"""Full shares that come through before the next one is twice as large: a try that is too large costs its whole time."""


class BatchShare:
    """A number of things, such as records; as many as there are until a transaction runs out of time."""

    def __init__(self) -> None:
        self._most = sys.maxsize
        self._came_through = 0

    def of(self, number: int) -> int:
        """How many of so many are taken together; at least one."""
        return min(number, self._most)

    def ran_out(self, number: int) -> None:
        """So many together were too many."""
        self._most = max(1, number // 2)
        self._came_through = 0

    def came_through(self, number: int) -> None:
        """So many together were not; fewer than a share say nothing of a larger one."""
        if self._most == sys.maxsize or number < self._most:
            return
        self._came_through += 1
        if self._came_through == CAME_THROUGH_TO_GROW:
            self._most, self._came_through = min(2 * self._most, sys.maxsize), 0
