"""Back-off of accounts whose timers fail: each is tried again after a growing pause, and delays no other account."""

from collections.abc import Iterable
from dataclasses import dataclass

from credit_service import bounds

PAUSE_SECONDS_FIRST = 1.0
PAUSE_SECONDS_MAX = 600.0


@dataclass(slots=True)
class _Pause:
    pause_seconds: float
    until: float


class TimerBackoff:
    """Pauses in memory: a restart tries all accounts at once. Beyond the bound, those that pause longest are kept."""

    def __init__(self) -> None:
        self._of: dict[str, _Pause] = {}

    def __len__(self) -> int:
        return len(self._of)

    def __contains__(self, account_id: str) -> bool:
        return account_id in self._of

    def holds(self, account_id: str, now: float) -> bool:
        """Whether the account is not to be tried yet; `now` is on the monotonic clock."""
        pause = self._of.get(account_id)
        return pause is not None and now < pause.until

    def failed(self, account_ids: Iterable[str], now: float) -> None:
        """Begins the pause of these accounts, or doubles it."""
        for account_id in account_ids:
            before = self._of.get(account_id)
            pause = PAUSE_SECONDS_FIRST if before is None else min(2 * before.pause_seconds, PAUSE_SECONDS_MAX)
            self._of[account_id] = _Pause(pause, now + pause)
        if (too_many := len(self._of) - bounds.SET_BACK_ACCOUNTS_MAX) > 0:
            for account_id in sorted(self._of, key=lambda name: self._of[name].until)[:too_many]:
                del self._of[account_id]

    def forget_old(self, now: float) -> None:
        """Forgets accounts that were not tried for long: an event ran their timers, or their partition moved."""
        for account_id in [name for name, pause in self._of.items() if now > pause.until + PAUSE_SECONDS_MAX]:
            del self._of[account_id]

    def came_through(self, account_ids: Iterable[str]) -> None:
        """Ends the pauses of these accounts, whose timers ran."""
        for account_id in account_ids:
            self._of.pop(account_id, None)
