"""How much each mode measures."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.large import Sizes as LargeStates

ACCOUNTS = 5_000


@dataclass(frozen=True, slots=True)
class Sizes:
    """The slow yardsticks get a shorter backlog of the same mix: a rate needs no more.

    The service, the floor, the replay and the database path are measured in all `repetitions`, all else in the
    first `repetitions_of_others`.
    """

    repetitions: int
    repetitions_of_others: int
    accounts: int
    events: int
    events_slow: int
    events_charged_or_declined: int
    lone_events_a_round: int
    half_load_seconds: float
    events_large_backlog: int | None
    large_states: LargeStates | None

    @property
    def accounts_slow(self) -> int:
        """So many that the plans are as large a part of the shorter backlog."""
        return self.accounts * self.events_slow // self.events


SIZES = {
    "short": Sizes(
        repetitions=3,
        repetitions_of_others=2,
        accounts=ACCOUNTS,
        events=80_000,
        events_slow=2_500,
        events_charged_or_declined=10_000,
        lone_events_a_round=60,
        half_load_seconds=3.0,
        events_large_backlog=None,
        large_states=None,
    ),
    "full": Sizes(
        repetitions=5,
        repetitions_of_others=3,
        accounts=ACCOUNTS,
        events=100_000,
        events_slow=10_000,
        events_charged_or_declined=50_000,
        lone_events_a_round=334,
        half_load_seconds=20.0,
        events_large_backlog=1_000_000,
        large_states=LargeStates(),
    ),
    # Whether the bench itself works; its figures mean nothing.
    "tiny": Sizes(
        repetitions=1,
        repetitions_of_others=1,
        accounts=100,
        events=2_000,
        events_slow=500,
        events_charged_or_declined=1_000,
        lone_events_a_round=10,
        half_load_seconds=1.0,
        events_large_backlog=None,
        large_states=None,
    ),
}
