"""The messages that every contender gets: the same bytes for the same seed."""

from __future__ import annotations

import json
import random
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from credit_contracts.envelope import binary_headers

if TYPE_CHECKING:
    from collections.abc import Iterator

# What the message brings about, in whatever order it comes. It lies in the value, where only the floor reads it:
# knowing this is what the others look up.
Effect = Literal["plan", "charge", "free", "refund"]

SOURCE = "/benchmarks"
VALUE_BYTES = 230
MONTHLY_CREDITS = 10_000_000
CAMPAIGNS = 100
# Long enough ago for every event of the largest backlog to be in the past, and within the plan's first month.
PAST = timedelta(hours=2)
STEP = timedelta(milliseconds=1)

GENERATED_SHARE = 0.8
EXPORTED_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Message:
    """One message on its way in: its topic is its type."""

    type: str
    id: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]
    changes_a_balance: bool


class Mix:
    """Plans of new accounts, and then 80 % generated, 10 % exported (half of them new), 10 % bounced."""

    def __init__(self, *, accounts: int, seed: int) -> None:
        self._random = random.Random(seed)
        self._accounts = [self.new_id() for _ in range(accounts)]
        self._campaigns = [self.new_id() for _ in range(CAMPAIGNS)]
        self._at = datetime.now(UTC) - PAST
        self._charged: list[tuple[str, str]] = []

    def plans(self) -> Iterator[Message]:
        """A plan for each account, large enough for all that comes."""
        for account in self._accounts:
            yield self._message("plan-changed", account, "plan", plan_id="bench", monthly_credits=MONTHLY_CREDITS)

    def events(self, count: int) -> Iterator[Message]:
        """So many events, evenly over the accounts; nothing bounces twice."""
        for _ in range(count):
            kind = self._random.random()
            if kind < GENERATED_SHARE or not self._charged:
                yield self._generated(self._random.choice(self._accounts))
            elif kind < GENERATED_SHARE + EXPORTED_SHARE / 2:
                yield self._exported(self._random.choice(self._accounts), self.new_id(), "charge")
            elif kind < GENERATED_SHARE + EXPORTED_SHARE:
                yield self._exported(*self._random.choice(self._charged), "free")
            else:
                yield self._bounced(*self._take_charged())

    def lone(self, account: int) -> Message:
        """One event that is charged, as of now."""
        self._at = datetime.now(UTC)
        return self._generated(self._accounts[account % len(self._accounts)])

    def new_id(self) -> str:
        """A UUID as text."""
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def _generated(self, account: str) -> Message:
        prospect = self.new_id()
        self._charged.append((account, prospect))
        campaign = self._random.choice(self._campaigns)
        return self._message("prospect-generated", account, "charge", prospect_id=prospect, campaign_id=campaign)

    def _exported(self, account: str, prospect: str, effect: Effect) -> Message:
        return self._message("prospect-exported", account, effect, prospect_id=prospect)

    def _bounced(self, account: str, prospect: str) -> Message:
        return self._message("email-bounced", account, "refund", prospect_id=prospect, bounce_type="hard")

    def _take_charged(self) -> tuple[str, str]:
        at = self._random.randrange(len(self._charged))
        self._charged[at], last = self._charged[-1], self._charged[at]
        self._charged.pop()
        return last

    def _message(self, event_type: str, account: str, effect: Effect, **data: str | int) -> Message:
        self._at += STEP
        event_id = self.new_id()
        bare = json.dumps({"account_id": account, **data, "effect": effect, "more": ""}, separators=(",", ":"))
        value = f"{bare[:-2]}{'x' * (VALUE_BYTES - len(bare))}{bare[-2:]}".encode()
        headers = binary_headers(SOURCE, event_id, event_type, self._at)
        return Message(event_type, event_id, account.encode(), value, headers, effect != "free")
