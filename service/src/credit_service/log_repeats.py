"""What a library says over and over, said once in a while: a broker that is away is no hundred lines a second."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

SECONDS_BETWEEN = 10.0
SAYINGS_MAX = 200
OUR_OWN = "credit_service"


@dataclass(slots=True)
class _Said:
    at: float
    withheld: int = 0


class Repeats(logging.Filter):
    """Lets each line of a library through once in `SECONDS_BETWEEN`, then with `repeated`: how many were withheld.

    Lines of this service pass: they are written to be counted. At most `SAYINGS_MAX` sayings are remembered; of more,
    the memory begins anew.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._said: dict[tuple[str, str], _Said] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is to be written."""
        if record.name.split(".", 1)[0] == OUR_OWN:
            return True
        now, saying = self._clock(), (record.name, record.getMessage())
        said = self._said.get(saying)
        if said and now - said.at < SECONDS_BETWEEN:
            said.withheld += 1
            return False
        if said and said.withheld:
            record.repeated = said.withheld
        if len(self._said) >= SAYINGS_MAX:
            self._said.clear()
        self._said[saying] = _Said(now)
        return True
