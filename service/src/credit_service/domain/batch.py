"""The batch that a rule works in: its time, its rules, and its results."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from credit_service.domain.decided import Decided
from credit_service.domain.rules import Rules

GivenUp: TypeAlias = Mapping[tuple[str, bytes], str]
"""Parked events on which the rules failed before: the name of the error, by account and key."""

NOTHING_GIVEN_UP: GivenUp = {}


@dataclass(frozen=True, slots=True)
class Batch:
    """One call of `decide`: its time, its rules, and `out`, to which the rules add what they decide.

    `now` is the database's clock, the same for the whole batch. Parked events that are `given_up` are refused.
    """

    now: datetime
    rules: Rules = field(default_factory=Rules)
    given_up: GivenUp = field(default_factory=dict)
    out: Decided = field(default_factory=Decided)
