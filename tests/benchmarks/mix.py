"""The messages that every contender gets: the same bytes for the same seed."""

from __future__ import annotations

import json
import random
import uuid
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from credit_contracts.envelope import binary_headers

if TYPE_CHECKING:
    from collections.abc import Iterator

# What the message brings about, in whatever order it comes. It lies in the value, where only the floor reads it:
# knowing this is what the others look up.
Effect = Literal["plan", "charge", "free", "refund", "decline"]
Outgoing = Literal["balance-changed", "insufficient-credits"]

SOURCE = "/benchmarks"
VALUE_BYTES = 230
MONTHLY_CREDITS = 10_000_000
CAMPAIGNS = 100
# Long enough ago for every event of the largest backlog to be in the past, and within the plan's first month.
PAST = timedelta(hours=2)
STEP = timedelta(milliseconds=1)

GENERATED_SHARE = 0.8
EXPORTED_SHARE = 0.1

PUBLISHED: dict[Effect, Outgoing] = {
    "plan": "balance-changed",
    "charge": "balance-changed",
    "refund": "balance-changed",
    "decline": "insufficient-credits",
}


@dataclass(frozen=True, slots=True)
class Message:
    """One message on its way in: its topic is its type."""

    type: str
    id: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]
    # The topic that tells of it, if any does.
    published_in: Outgoing | None


class Mix:
    """Plans of new accounts, and then events: 80 % generated, 10 % exported (half of them new), 10 % bounced.

    Other shapes are for single rows: all events on one account, or all of them charges, or declines. Where events are
    sent live, what refers to a charge has to come `rest` charges later: its topic is another one.
    """

    def __init__(self, *, accounts: int, seed: int, monthly_credits: int = MONTHLY_CREDITS, rest: int = 0) -> None:
        self._random = random.Random(seed)
        self._accounts = [self.new_id() for _ in range(accounts)]
        self._monthly_credits = monthly_credits
        self._campaigns = [self.new_id() for _ in range(CAMPAIGNS)]
        self._at = datetime.now(UTC) - PAST
        self._charged: list[tuple[str, str]] = []
        self._resting: deque[tuple[str, str]] = deque()
        self._rest = rest

    def plans(self) -> Iterator[Message]:
        """A plan for each account, large enough for all that comes unless it is one of no credits."""
        # A plan of no credits changes no balance.
        effect: Effect = "plan" if self._monthly_credits else "free"
        for account in self._accounts:
            monthly = self._monthly_credits
            yield self._message("plan-changed", account, effect, plan_id="bench", monthly_credits=monthly)

    def events(self, count: int, *, accounts: int | None = None) -> Iterator[Message]:
        """So many events, evenly over the accounts or over the first few of them; nothing bounces twice."""
        among = self._accounts[:accounts]
        for _ in range(count):
            kind = self._random.random()
            if kind < GENERATED_SHARE or not self._charged:
                yield self._generated(self._random.choice(among))
            elif kind < GENERATED_SHARE + EXPORTED_SHARE / 2:
                yield self._exported(self._random.choice(among), self.new_id(), "charge")
            elif kind < GENERATED_SHARE + EXPORTED_SHARE:
                yield self._exported(*self._random.choice(self._charged), "free")
            else:
                yield self._bounced(*self._take_charged())

    def generated(self, count: int) -> Iterator[Message]:
        """So many prospects that are generated, each charged or, on plans of no credits, declined."""
        for _ in range(count):
            yield self._generated(self._random.choice(self._accounts))

    def lone(self, account: int) -> Message:
        """One event that is charged, as of now."""
        self._at = datetime.now(UTC)
        return self._generated(self._accounts[account % len(self._accounts)])

    def new_id(self) -> str:
        """A UUID as text."""
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def _generated(self, account: str) -> Message:
        prospect = self.new_id()
        self._resting.append((account, prospect))
        if len(self._resting) > self._rest:
            self._charged.append(self._resting.popleft())
        campaign = self._random.choice(self._campaigns)
        effect: Effect = "charge" if self._monthly_credits else "decline"
        return self._message("prospect-generated", account, effect, prospect_id=prospect, campaign_id=campaign)

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
        return Message(event_type, event_id, account.encode(), value, headers, PUBLISHED.get(effect))
