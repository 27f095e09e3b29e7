"""Billing periods: period n begins n months after the anchor, in the account's own wall time."""

from calendar import monthrange
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo


class Calendar(NamedTuple):
    """The origin of an account's periods; the first plan sets it, for good."""

    anchor_at: datetime
    time_zone: str

    def starts_at(self, number: int) -> datetime:
        """The instant period `number` begins, in UTC; 0 begins at the anchor, earlier ones are negative.

        Always counted from the anchor, never from the period before: 31 Jan, 28 Feb, 31 Mar. A wall time that
        the clock skips moves forward by as much; a wall time that occurs twice means the first.
        """
        anchor = self.anchor_at.astimezone(ZoneInfo(self.time_zone))
        year, month0 = divmod(anchor.year * 12 + anchor.month - 1 + number, 12)
        day = min(anchor.day, monthrange(year, month0 + 1)[1])
        return anchor.replace(year=year, month=month0 + 1, day=day, fold=0).astimezone(UTC)

    def period(self, number: int) -> "Period":
        """Period `number` with both its ends."""
        return Period(number, self.starts_at(number), self.starts_at(number + 1))

    def period_at(self, instant: datetime) -> "Period":
        """The period that contains `instant`; the instant of a renewal belongs to the new period."""
        local, anchor = (t.astimezone(ZoneInfo(self.time_zone)) for t in (instant, self.anchor_at))
        number = (local.year - anchor.year) * 12 + local.month - anchor.month
        period = self.period(number)
        while period.starts_at > instant:
            period = self.period(period.number - 1)
        while period.ends_at <= instant:
            period = self.period(period.number + 1)
        return period

    def day_ends_at(self, instant: datetime) -> datetime:
        """The first midnight of the account's time zone that is not before `instant`, in UTC.

        If the clock skips that midnight, the instant of the skip; if it occurs twice, the first.
        """
        day = instant.astimezone(ZoneInfo(self.time_zone)).date()
        today = self._midnight(day)
        return today if today >= instant else self._midnight(day + timedelta(days=1))

    def _midnight(self, day: date) -> datetime:
        return datetime.combine(day, time.min, ZoneInfo(self.time_zone)).astimezone(UTC)


class Period(NamedTuple):
    """One billing period, from `starts_at` to before `ends_at`."""

    number: int
    starts_at: datetime
    ends_at: datetime
