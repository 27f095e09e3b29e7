"""Times and offsets on the command line."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from credit_service.cli.explain.tree import time_text
from credit_service.cli.shared.errors import WrongUse
from credit_service.cli.shared.times import bound_of, instant_of, range_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-01T12:00:00Z", datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ("2026-03-01t12:00:00z", datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ("2026-03-01T12:00:00+01:00", datetime(2026, 3, 1, 11, tzinfo=UTC)),
        ("2026-03-01 12:00:00.5-05:00", datetime(2026, 3, 1, 17, 0, 0, 500000, tzinfo=UTC)),
        ("2026-03-01T12:00Z", datetime(2026, 3, 1, 12, tzinfo=UTC)),
        (" 2026-03-01T12:00:00Z ", datetime(2026, 3, 1, 12, tzinfo=UTC)),
    ],
)
def test_an_instant_is_told_in_utc(text: str, expected: datetime, capsys: pytest.CaptureFixture[str]) -> None:
    found = instant_of("--from", text)
    assert (found, found.tzinfo) == (expected, UTC)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-03-01T12:00:00", datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ("0001-01-01", datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_without_a_zone_it_is_utc_and_said(text: str, expected: datetime, capsys: pytest.CaptureFixture[str]) -> None:
    assert instant_of("--from", text) == expected
    assert capsys.readouterr() == ("", f"--from: {text} has no zone and is taken as UTC\n")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-02-30",
        "2026-03-01T25:00:00Z",
        "2026-03-01T12:0:000Z",
        "2026-03-01T12",
        "2026-03-01Z",
        "2026-W10",
        "20260301T1200",
        "12:00",
        "-5",
        "١٢",
        "٢٠٢٦-03-01",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:00:00-14:00",
        "2026-03-01T12:00:00 Europe/Berlin",
    ],
)
def test_what_is_no_instant_is_wrong_use(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(WrongUse, match=r"^--to: .* is no time such as 2026-03-01T12:00:00Z$"):
        instant_of("--to", text)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("text", "expected"), [(None, None), ("0", 0), ("17", 17), ("9" * 18, 10**18 - 1)])
def test_digits_are_an_offset(text: str | None, expected: int | None) -> None:
    assert bound_of("--from", text) == expected


@pytest.mark.parametrize("text", ["9" * 19, "1" * 5000, "+5", "1_000", "²"])
def test_other_numbers_are_none(text: str) -> None:
    with pytest.raises(WrongUse):
        bound_of("--from", text)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (None, None),
        ("5", None),
        (None, "5"),
        ("5", "6"),
        ("2026-03-01T00:00:00Z", "2026-03-01T00:00:00.001Z"),
        # By the clock on the wall it is turned around, and it is not.
        ("2026-03-01T12:00:00+02:00", "2026-03-01T11:00:00Z"),
        ("5", "2026-03-01T00:00:00Z"),
        ("2026-03-01T00:00:00Z", "5"),
    ],
)
def test_a_range_that_may_have_something(start: str | None, end: str | None) -> None:
    assert range_of(start, end) == (bound_of("--from", start), bound_of("--to", end))


@pytest.mark.parametrize(
    ("start", "end", "told"),
    [
        ("5", "5", "--from 5 --to 5: "),
        ("6", "5", "--from 6 --to 5: "),
        (None, "0", "--to 0: "),
        ("2026-03-01T00:00:00Z", "0", "--from 2026-03-01T00:00:00Z --to 0: "),
        ("2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z", "--from 2026-03-01T00:00:00Z --to 2026-03-01T00:00:00Z: "),
        ("2026-03-01T12:00:00Z", "2026-03-01T12:00:00+02:00", "--from 2026-03-01T12:00:00Z --to "),
    ],
)
def test_an_empty_range_is_wrong_use(start: str | None, end: str | None, told: str) -> None:
    with pytest.raises(WrongUse) as raised:
        range_of(start, end)
    assert str(raised.value).startswith(told)
    assert str(raised.value).endswith("the range is empty, --to has to be later")


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "2026-03-01T12:00:00.000001Z"])
def test_an_instant_that_is_told_can_be_asked_about(text: str) -> None:
    assert time_text(instant_of("--at", text)) == text
