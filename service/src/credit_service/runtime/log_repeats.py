"""What a library says over and over, said once in a while: a broker that is away is no hundred lines a second."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from credit_service import bounds
from credit_service.runtime.tracebacks import OUR_OWN, origin

SECONDS_BETWEEN = 10.0

OF_SETTINGS = {"Sending username and password in the clear"}
"""What is said at each login, and is so as long as the settings are: aiokafka, of a login by PLAIN without TLS."""


@dataclass(slots=True)
class _Said:
    at: float
    withheld: int = 0


class Repeats(logging.Filter):
    """Lets each line of a library through once in `SECONDS_BETWEEN`, then with `repeated`: how many were withheld.

    What is `OF_SETTINGS` passes once. The same words over another error are another line. Lines of this service pass:
    they are written to be counted. At most `bounds.SAYINGS_MAX` sayings are remembered; of more, it begins anew.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._said: dict[tuple[str, ...], _Said] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is to be written."""
        if record.name.split(".", 1)[0] == OUR_OWN:
            return True
        now, saying = self._clock(), _saying(record)
        said = self._said.get(saying)
        if said and (now - said.at < SECONDS_BETWEEN or saying[1] in OF_SETTINGS):
            said.withheld += 1
            return False
        if said and said.withheld:
            record.repeated = said.withheld
        if len(self._said) >= bounds.SAYINGS_MAX:
            self._said.clear()
        self._said[saying] = _Said(now)
        return True


def _saying(record: logging.LogRecord) -> tuple[str, ...]:
    try:
        words = record.getMessage()
    except Exception:  # the library's own mistake, which may not become an error of what it was doing
        words = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    return (record.name, words, *(origin(error) if error else ()))
