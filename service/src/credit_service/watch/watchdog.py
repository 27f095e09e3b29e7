"""The rule by which a member without progress ends; it reads no clock."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Observation:
    """One observation at the moment `at`, in seconds of the monotonic clock.

    `decided_at` is when a message was last decided. `is_excused`: the cause is outside of this process, and a restart
    would not help.
    """

    at: float
    decided_at: float
    waits: bool
    is_excused: bool


class Watchdog:
    """Measures for how long messages have waited without one being decided.

    An observation counts for at most `interval_seconds_max`: a process that was frozen has not failed.
    Time with an excuse counts as waiting, but not as failing; it does not reset the time that was counted before.
    """

    def __init__(self, interval_seconds_max: float) -> None:
        self.waited_seconds = 0.0
        self.failed_seconds = 0.0
        self._interval_seconds_max = interval_seconds_max
        self._last: Observation | None = None

    def observe(self, observation: Observation) -> None:
        """Takes one observation, and counts the time since the last one."""
        last, self._last = self._last, observation
        if last is None or not (last.waits and observation.waits) or observation.decided_at != last.decided_at:
            self.waited_seconds = self.failed_seconds = 0.0
            return
        seconds = min(observation.at - last.at, self._interval_seconds_max)
        self.waited_seconds += seconds
        if not observation.is_excused:
            self.failed_seconds += seconds
