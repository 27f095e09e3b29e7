"""The rules of credit told a second time, as simply as possible: every single credit is a token with its expiry.

Shares nothing with the domain. It knows one account in UTC whose months begin on the first, at midnight.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime


@dataclass
class Announced:
    """A plan that was spoken of: `order` says which of two wins."""

    limit: int | None
    order: tuple[datetime, datetime, int]


@dataclass
class Charged:
    """What a prospect cost: the expiry of its token, or None where it took none."""

    token: datetime | None
    refunded: bool = False


@dataclass
class Model:
    """One account with a first plan."""

    forfeit_late_refunds: bool = False
    tokens: list[datetime] = field(default_factory=list)
    month_ends: datetime | None = None
    unlimited: bool = False
    plan: Announced | None = None
    announced: list[Announced] = field(default_factory=list)
    granted: int = 0
    charged: dict[str, Charged] = field(default_factory=dict)
    bounced: set[str] = field(default_factory=set)
    arrivals: int = 0

    def plan_changed(self, limit: int | None, at: datetime, effective_at: datetime) -> str:
        self.arrivals += 1
        new = Announced(limit, (effective_at, at, self.arrivals))
        if self.month_ends is None:
            self.month_ends = _next_month(at)
        self._time_passes(at, up_to_but_without=True)
        rivals = [a for a in self.announced if a.order[0] <= at]
        if any(new.order < other.order for other in [*rivals, *([self.plan] if self.plan else [])]):
            said = "plan-superseded"
        elif effective_at > at:
            self.announced.append(new)
            said = "plan-pending"
        else:
            said = "plan-in-force"
            if at == self.month_ends or rivals:
                self.announced.append(new)
            else:
                self._put_in_force(new)
                self._top_up()
        self._time_passes(at)
        return said

    def brought(self, prospect: str, at: datetime) -> str:
        self._time_passes(at)
        if prospect in self.charged:
            return "free"
        if not self.unlimited and not self.tokens:
            return "declined"
        token = None
        if not self.unlimited:
            token = min(self.tokens)
            self.tokens.remove(token)
        self.charged[prospect] = Charged(token)
        if prospect in self.bounced:
            self._give_back(prospect)
        return "charged"

    def bounce(self, prospect: str, at: datetime) -> str:
        self._time_passes(at)
        if prospect not in self.charged:
            self.bounced.add(prospect)
            return "awaiting-charge"
        if self.charged[prospect].refunded:
            return "no-effect"
        return "refunded" if self._give_back(prospect) else "forfeited"

    def passes(self, at: datetime) -> None:
        """Time alone."""
        self._time_passes(at)

    def _give_back(self, prospect: str) -> bool:
        assert self.month_ends is not None
        charge = self.charged[prospect]
        if charge.token is not None:
            # All tokens end with a month, so one whose month is not the current one is gone.
            if charge.token < self.month_ends and self.forfeit_late_refunds:
                return False
            self.tokens.append(max(charge.token, self.month_ends))
        charge.refunded = True
        return True

    def _time_passes(self, at: datetime, *, up_to_but_without: bool = False) -> None:
        while self.month_ends is not None:
            instant = min([self.month_ends, *(a.order[0] for a in self.announced)])
            if instant > at or (up_to_but_without and instant == at):
                return
            due = [a for a in self.announced if a.order[0] <= instant]
            self.announced = [a for a in self.announced if a.order[0] > instant]
            is_new_month = instant == self.month_ends
            if is_new_month:
                self.tokens = []
                self.granted = 0
                self.month_ends = _next_month(instant)
            for plan in sorted(due, key=lambda a: a.order)[-1:]:
                if self.plan is None or plan.order > self.plan.order:
                    self._put_in_force(plan)
            if is_new_month or due:
                self._top_up()

    def _put_in_force(self, plan: Announced) -> None:
        self.plan = plan
        self.unlimited = plan.limit is None

    def _top_up(self) -> None:
        assert self.month_ends is not None
        limit = (self.plan.limit or 0) if self.plan else 0
        more = max(0, limit - self.granted)
        self.tokens += [self.month_ends] * more
        self.granted += more


def _next_month(at: datetime) -> datetime:
    return datetime(at.year + at.month // 12, at.month % 12 + 1, 1, tzinfo=UTC)
