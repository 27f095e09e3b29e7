"""When a member that does not come on is to end: a rule without a clock."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen at the moment `at`, in seconds of a clock that only goes forward.

    `decided_at` is when something was last decided. `is_excused`: what is missing is elsewhere, and another start would
    not bring it back.
    """

    at: float
    decided_at: float
    waits: bool
    is_excused: bool


class Watchdog:
    """Counts how long messages have waited without one being decided.

    A look stands for at most `look_seconds_max` since the one before: a process that was frozen did not fail meanwhile.
    Time with an excuse counts as waiting, and not as failing; it does not undo what was counted before.
    """

    def __init__(self, look_seconds_max: float) -> None:
        self.waited_seconds = 0.0
        self.failed_seconds = 0.0
        self._look_seconds_max = look_seconds_max
        self._last: Look | None = None

    def look(self, look: Look) -> None:
        """Takes in one look, and counts the time since the last."""
        last, self._last = self._last, look
        if last is None or not (last.waits and look.waits) or look.decided_at != last.decided_at:
            self.waited_seconds = self.failed_seconds = 0.0
            return
        seconds = min(look.at - last.at, self._look_seconds_max)
        self.waited_seconds += seconds
        if not look.is_excused:
            self.failed_seconds += seconds
