"""Instants as messages carry them: RFC 3339 with a zone, kept and written in UTC."""

import re
from datetime import UTC, datetime
from typing import Annotated, Final, TypeAlias

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

_rfc3339: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII
).fullmatch
_HOUR = slice(11, 13)
_SECONDS = slice(17, 19)
_OFFSET_CHARACTERS: Final = len("+00:00")


def parse_time(text: str) -> datetime:
    """Read an RFC 3339 time with a zone; digits beyond the microsecond are cut off.

    Raises PydanticCustomError, whose type says what is wrong and whose text never shows the input.
    """
    if _rfc3339(text) is None:
        raise PydanticCustomError("time_not_rfc3339_with_zone", "not an RFC 3339 time with a zone")
    if text[_SECONDS] == "60":
        raise PydanticCustomError("time_leap_second", "a leap second cannot be kept")
    if text[_HOUR] == "24":
        # Python from 3.14 on would read it as the next day.
        raise PydanticCustomError("time_does_not_exist", "no such date or time of day")
    try:
        # Python 3.11 reads a lower-case "t" but no lower-case "z".
        moment = datetime.fromisoformat(text if text[-1] != "z" else text.upper())
    except ValueError:
        raise PydanticCustomError("time_does_not_exist", "no such date or time of day") from None
    return in_utc(moment)


def in_utc(moment: datetime) -> datetime:
    """Return the same instant in UTC; a time without a zone is refused, not guessed at."""
    if moment.tzinfo is UTC:
        return moment
    if moment.utcoffset() is None:
        raise PydanticCustomError("time_without_zone", "a time without a zone is no instant")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError("time_out_of_range", "outside the years 1 to 9999 in UTC") from None


def format_time(moment: datetime) -> str:
    """Write an instant in the one form that messages use: `2026-01-31T09:30:00.000000Z`."""
    return in_utc(moment).isoformat("T", "microseconds")[:-_OFFSET_CHARACTERS] + "Z"


def _instant(value: object) -> datetime:
    if isinstance(value, str):
        return parse_time(value)
    if isinstance(value, datetime):
        return in_utc(value)
    raise PydanticCustomError("time_not_rfc3339_with_zone", "not an RFC 3339 time with a zone")


Instant: TypeAlias = Annotated[
    datetime,
    PlainValidator(_instant),
    PlainSerializer(format_time, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
