"""The rule by which a member without progress ends; it reads no clock."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Look:
    """One check at the moment `at`, in seconds of the monotonic clock.

    `decided_at` is when a message was last decided. `is_excused`: the cause is outside of this process, and a restart
    would not help.
    """

    at: float
    decided_at: float
    waits: bool
    is_excused: bool


class Watchdog:
    """Measures for how long messages have waited without one being decided.

    A check counts for at most `look_seconds_max` since the one before: a process that was frozen has not failed.
    Time with an excuse counts as waiting, but not as failing; it does not reset the time that was counted before.
    """

    def __init__(self, look_seconds_max: float) -> None:
        self.waited_seconds = 0.0
        self.failed_seconds = 0.0
        self._look_seconds_max = look_seconds_max
        self._last: Look | None = None

    def look(self, look: Look) -> None:
        """Takes one check, and counts the time since the last one."""
        last, self._last = self._last, look
        if last is None or not (last.waits and look.waits) or look.decided_at != last.decided_at:
            self.waited_seconds = self.failed_seconds = 0.0
            return
        seconds = min(look.at - last.at, self._look_seconds_max)
        self.waited_seconds += seconds
        if not look.is_excused:
            self.failed_seconds += seconds
