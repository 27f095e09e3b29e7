"""Thins out repeated log lines of libraries: a broker that is away would be a hundred lines a second."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from credit_service import bounds
from credit_service.runtime.tracebacks import OUR_OWN, origin

SECONDS_BETWEEN = 10.0

ONCE = {"Sending username and password in the clear"}
"""Messages about settings, which are written only once: aiokafka's at each login by PLAIN without TLS."""


@dataclass(slots=True)
class _Written:
    """When a line was written last, and how many repeats were withheld since."""

    at: float
    withheld: int = 0


class RepeatFilter(logging.Filter):
    """Passes each line of a library once in `SECONDS_BETWEEN`, then with `repeated`: the number of withheld lines.

    Messages in `ONCE` pass once. The same message with another error is another line. Lines of this service always
    pass. At most `bounds.LOG_LINES_KEPT_MAX` lines are kept; beyond that, all are forgotten.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._written: dict[tuple[str, ...], _Written] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write the line."""
        if record.name.split(".", 1)[0] == OUR_OWN:
            return True
        now, line = self._clock(), _line_of(record)
        written = self._written.get(line)
        if written and (now - written.at < SECONDS_BETWEEN or line[1] in ONCE):
            written.withheld += 1
            return False
        if written and written.withheld:
            record.repeated = written.withheld
        if len(self._written) >= bounds.LOG_LINES_KEPT_MAX:
            self._written.clear()
        self._written[line] = _Written(now)
        return True


def _line_of(record: logging.LogRecord) -> tuple[str, ...]:
    """Logger, message, and kind and places of the error."""
    try:
        message = record.getMessage()
    except Exception:  # the library's own mistake, which must not fail its caller
        message = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    return (record.name, message, *(origin(error) if error else ()))
