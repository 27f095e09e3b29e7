"""Whether the events of an account are read far enough for a command, which may close the month of these events."""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from credit_service.application.ports import ReadSoFar
from credit_service.domain.rules import Rules

FRESH = timedelta(seconds=30)
"""How far reading may be behind the database's clock for a command to be decided."""

WAIT_SECONDS_MAX = 30.0
LOOK_EVERY_SECONDS = 0.25


@dataclass(slots=True)
class ReadProgress:
    """Waits for events to be read before commands are decided, for `seconds_left` in all.

    With `as_it_stands` it does not wait: the commands are then decided without any turn of a month.
    """

    ledger: ReadSoFar
    as_it_stands: bool = False
    seconds_left: float = field(default_factory=lambda: WAIT_SECONDS_MAX)

    async def behind(self, account_ids: Collection[str]) -> Mapping[str, datetime]:
        """The accounts whose events are not read far enough, with the instant up to which they are read.

        Raises `LedgerUnavailable`.
        """
        if self.as_it_stands or not account_ids:
            return {}
        while behind := await self.ledger.accounts_behind(account_ids, FRESH):
            if self.seconds_left <= 0:
                return behind
            self.seconds_left -= LOOK_EVERY_SECONDS
            await asyncio.sleep(LOOK_EVERY_SECONDS)
        return {}

    def rules(self, rules: Rules) -> Rules:
        """The rules by which commands are decided."""
        return replace(rules, runs_timers=False) if self.as_it_stands else rules


def behind_message(read_until: datetime) -> str:
    """The text for a command that is refused as `behind`."""
    return (
        f"the account's events are read up to {read_until:%Y-%m-%d %H:%M:%S} UTC only; wait until the service has read "
        "the rest, or order it with --as-it-stands"
    )
