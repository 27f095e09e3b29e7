"""Times and offsets given on the command line."""

import re
from datetime import UTC, datetime

from credit_service.cli.shared.errors import WrongUse
from credit_service.cli.shared.output import say

OFFSET_DIGITS_MAX = 18
# Python accepts more: weeks, rows of digits, which are hard to read, and from 3.14 on 24:00.
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ](?!24)[0-9:]{5,8}([.][0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})?)?")


def instant_of(option: str, text: str) -> datetime:
    """Parses an RFC 3339 time or a day; a time without a zone is taken as UTC, with a message about it."""
    given = text.strip().upper()
    try:
        if not TIME.fullmatch(given):
            raise ValueError
        at = datetime.fromisoformat(given)
        is_naive = at.tzinfo is None
        # Near the first and the last day, some zones have no instant.
        instant = at.replace(tzinfo=UTC) if is_naive else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise WrongUse(f"{option}: {text!r} is no time such as 2026-03-01T12:00:00Z") from None
    if is_naive:
        say(f"{option}: {text} has no zone and is taken as UTC")
    return instant


def bound_of(option: str, text: str | None) -> datetime | int | None:
    """Parses an instant or an offset; None if the option is not given."""
    if text is None:
        return None
    if text.isascii() and text.isdigit() and len(text) <= OFFSET_DIGITS_MAX:
        return int(text)
    return instant_of(option, text)


def range_of(start: str | None, end: str | None) -> tuple[datetime | int | None, datetime | int | None]:
    """Parses --from and --to; raises `WrongUse` for an empty or reversed range."""
    begin, until = bound_of("--from", start), bound_of("--to", end)
    is_wrong = until == 0
    is_wrong |= isinstance(begin, int) and isinstance(until, int) and begin >= until
    is_wrong |= isinstance(begin, datetime) and isinstance(until, datetime) and begin >= until
    if is_wrong:
        given = [f"{option} {text}" for option, text in (("--from", start), ("--to", end)) if text is not None]
        raise WrongUse(f"{' '.join(given)}: the range is empty, --to has to be later")
    return begin, until
