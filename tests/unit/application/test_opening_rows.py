"""The rows of a customer base: how lines are read, and which are refused."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from credit_service.application.opening.rows import (
    COLUMNS,
    LINE_BYTES_MAX,
    RefusedRow,
    Row,
    WrongFile,
    begin_rows,
    lines_of,
    read_rows,
)
from credit_service.domain.command import OpenAccount, OpenProspect, OpenPurchase

if TYPE_CHECKING:
    from credit_service.application.opening.rows import RowsFormat

PAGE = Path(__file__).parents[3] / "service/docs/OPENING.md"
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
ANCHOR = "2026-01-31T00:00:00Z"
ACCOUNT: dict[str, object] = {
    "record": "account",
    "account_id": "acme",
    "plan_id": "pro",
    "monthly_credits": 500,
    "billing_anchor_at": ANCHOR,
}
PURCHASE: dict[str, object] = {"record": "purchase", "account_id": "acme", "purchase_id": "buy-1", "credits": 7}
PROSPECT: dict[str, object] = {"record": "prospect", "account_id": "acme", "prospect_id": "p-1", "origin": "exported"}
OF_KIND = {"account": ACCOUNT, "purchase": PURCHASE, "prospect": PROSPECT}

HEADER = "record,account_id,plan_id,monthly_credits,billing_anchor_at,remaining_credits,seats,credits,purchase_id"
CSV_ACCOUNT = f"account,acme,pro,500,{ANCHOR},,,,"


def read(content: bytes, rows_format: RowsFormat = "jsonl") -> list[Row | RefusedRow]:
    read_fields, lines = begin_rows(lines_of(BytesIO(content).readline), rows_format)
    return list(read_rows(lines, read_fields, NOW))


def jsonl(*rows: dict[str, object]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def csv(*lines: str) -> bytes:
    return "\n".join((HEADER, *lines)).encode()


def data_of(rows: list[Row | RefusedRow]) -> list[object]:
    return [row.command.data if isinstance(row, Row) else row for row in rows]


def test_a_row_of_each_kind_in_json() -> None:
    account = ACCOUNT | {"seats": 3, "email_accounts": 4, "time_zone": "Europe/Berlin", "remaining_credits": 120}

    rows = read(jsonl(account, PURCHASE | {"expires_at": "2026-12-31T23:00:00+01:00"}, PROSPECT))

    assert data_of(rows) == [
        OpenAccount("pro", 500, 3, 4, datetime(2026, 1, 31, tzinfo=UTC), "Europe/Berlin", 120),
        OpenPurchase("buy-1", 7, datetime(2026, 12, 31, 22, tzinfo=UTC)),
        OpenProspect("p-1", "exported"),
    ]
    assert [(row.line, row.record) for row in rows] == [(1, "account"), (2, "purchase"), (3, "prospect")]


def test_csv_says_the_same_as_json() -> None:
    header = ",".join(COLUMNS)
    given = ACCOUNT | {"seats": 3, "time_zone": "Europe/Berlin", "remaining_credits": 0}
    rows = [given, PURCHASE, PROSPECT | {"prospect_id": 'a "b", c'}]

    def quoted(value: object) -> str:
        return '"' + str(value).replace('"', '""') + '"'

    lines = [",".join(quoted(row[name]) if name in row else "" for name in COLUMNS) for row in rows]

    commands = [row.command for row in read("\r\n".join([header, *lines]).encode(), "csv") if isinstance(row, Row)]

    assert commands == [row.command for row in read(jsonl(*rows)) if isinstance(row, Row)]
    assert len(commands) == 3


@pytest.mark.parametrize("row", [ACCOUNT | {"monthly_credits": None}, f"account,acme,pro,unlimited,{ANCHOR},,,,"])
def test_unlimited_has_to_be_said(row: dict[str, object] | str) -> None:
    rows = read(csv(row), "csv") if isinstance(row, str) else read(jsonl(row))

    (data,) = data_of(rows)
    assert isinstance(data, OpenAccount)
    assert data.monthly_credits is None


def test_null_is_as_good_as_absent() -> None:
    given = ACCOUNT | dict.fromkeys(["seats", "email_accounts", "time_zone", "remaining_credits"])

    assert data_of(read(jsonl(given))) == data_of(read(jsonl(ACCOUNT)))


def test_unknown_fields_of_json_are_ignored() -> None:
    assert data_of(read(jsonl(ACCOUNT | {"name": "Acme Ltd"}))) == data_of(read(jsonl(ACCOUNT)))


@pytest.mark.parametrize(
    ("kind", "changed", "detail"),
    [
        ("account", {"account_id": None}, "account_id: string_type"),
        ("account", {"account_id": ""}, "account_id: string_too_short"),
        ("account", {"account_id": "a" * 129}, "account_id: string_too_long"),
        ("account", {"account_id": "a\nb"}, "account_id: string_pattern_mismatch"),
        ("account", {"account_id": 7}, "account_id: string_type"),
        ("account", {"plan_id": ""}, "plan_id: string_too_short"),
        ("account", {"plan_id": ...}, "plan_id: missing"),
        ("account", {"monthly_credits": ...}, "monthly_credits: missing"),
        ("account", {"monthly_credits": "500"}, "monthly_credits: int_type"),
        ("account", {"monthly_credits": "unlimited"}, "monthly_credits: int_type"),
        ("account", {"monthly_credits": True}, "monthly_credits: int_type"),
        ("account", {"monthly_credits": 5.0}, "monthly_credits: int_type"),
        ("account", {"monthly_credits": -1}, "monthly_credits: greater_than_equal"),
        ("account", {"monthly_credits": 10**9 + 1}, "monthly_credits: less_than_equal"),
        ("account", {"remaining_credits": -1}, "remaining_credits: greater_than_equal"),
        ("account", {"remaining_credits": 10**30}, "remaining_credits: less_than_equal"),
        ("account", {"seats": True}, "seats: int_type"),
        ("account", {"email_accounts": []}, "email_accounts: int_type"),
        ("account", {"billing_anchor_at": ...}, "billing_anchor_at: missing"),
        ("account", {"billing_anchor_at": "2026-01-31"}, "billing_anchor_at: time_not_rfc3339_with_zone"),
        ("account", {"billing_anchor_at": "2026-01-31T00:00:00"}, "billing_anchor_at: time_not_rfc3339_with_zone"),
        ("account", {"billing_anchor_at": "2026-02-30T00:00:00Z"}, "billing_anchor_at: time_does_not_exist"),
        ("account", {"billing_anchor_at": "1969-12-31T23:59:59Z"}, "billing_anchor_at: time_out_of_range"),
        ("account", {"billing_anchor_at": "2031-03-10T12:00:01Z"}, "billing_anchor_at: time_out_of_range"),
        ("account", {"time_zone": "Mars/Olympus"}, "time_zone: time_zone_unknown"),
        ("account", {"plan_id": ..., "seats": "1"}, "plan_id: missing, seats: int_type"),
        ("purchase", {"purchase_id": ...}, "purchase_id: missing"),
        ("purchase", {"credits": 0}, "credits: greater_than_equal"),
        ("purchase", {"credits": 10**9 + 1}, "credits: less_than_equal"),
        ("purchase", {"credits": None}, "credits: int_type"),
        ("purchase", {"expires_at": "never"}, "expires_at: time_not_rfc3339_with_zone"),
        ("prospect", {"prospect_id": "p" * 129}, "prospect_id: string_too_long"),
        ("prospect", {"origin": "bought"}, "origin: literal_error"),
        ("prospect", {"origin": ...}, "origin: missing"),
        ("prospect", {"record": "prospects"}, "record: not one of account, purchase, prospect"),
        ("prospect", {"record": ...}, "record: missing"),
        ("prospect", {"record": []}, "record: not one of account, purchase, prospect"),
    ],
)
def test_bad_row(kind: str, changed: dict[str, object], detail: str) -> None:
    fields = {name: value for name, value in (OF_KIND[kind] | changed).items() if value is not ...}

    refused = read(jsonl(ACCOUNT, fields))[1]

    assert isinstance(refused, RefusedRow)
    assert (refused.line, refused.reason, refused.detail) == (2, "bad-row", detail)


@pytest.mark.parametrize("edge", ["1970-01-01T00:00:00Z", "2031-03-10T12:00:00Z"])
def test_the_anchor_may_be_of_long_ago_or_in_five_years(edge: str) -> None:
    assert isinstance(read(jsonl(ACCOUNT | {"billing_anchor_at": edge}))[0], Row)


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        (b"{", "not JSON: EOF while parsing an object at column 1"),
        (b'["record"]', "not a JSON object"),
        (b"7", "not a JSON object"),
        (b"{} {}", "not JSON: trailing characters at column 4"),
        (b"[" * 5_000, "not JSON: recursion limit exceeded at column 202"),
        (b'{"record": "\xff"}', "not JSON: invalid unicode code point at column 13"),
        (b'{"record": "\\ud800"}', "not JSON: unexpected end of hex escape at column 19"),
        (b" " * (LINE_BYTES_MAX + 1), "longer than 65536 bytes"),
    ],
)
def test_a_broken_json_line_spoils_no_other(line: bytes, detail: str) -> None:
    account, refused, prospect = read(jsonl(ACCOUNT) + line + b"\n" + jsonl(PROSPECT))

    assert refused == RefusedRow(2, None, None, "bad-row", detail)
    assert isinstance(account, Row)
    assert isinstance(prospect, Row)
    assert prospect.line == 3


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        ('account,"acme', "not CSV: a quote is left open"),
        ('account,"ac"me,pro', "not CSV: text behind a quote that closes a cell"),
        ("account,ac\rme", "not CSV: a line break in a cell"),
        ("account,acme,pro", "3 cells, the header has 9"),
        (f"{CSV_ACCOUNT},", "10 cells, the header has 9"),
        (f"account,acme,pro,,{ANCHOR},,,,", "monthly_credits: missing"),
        (f"account,acme,pro,Unlimited,{ANCHOR},,,,", "monthly_credits: int_type"),
        (f"account,acme,pro,5e2,{ANCHOR},,,,", "monthly_credits: int_type"),
        (f"account,acme,pro,+5,{ANCHOR},,,,", "monthly_credits: int_type"),
        (f"account,acme,pro,1_000,{ANCHOR},,,,", "monthly_credits: int_type"),
        (f"account,acme,pro, 5,{ANCHOR},,,,", "monthly_credits: int_type"),
        (f"account,acme,pro,5.0,{ANCHOR},,,,", "monthly_credits: int_type"),
        (f"account,acme,pro,\u0665,{ANCHOR},,,,", "monthly_credits: int_type"),
        (f"account,acme,pro,{'9' * 5000},{ANCHOR},,,,", "monthly_credits: int_type"),
        (f"account,acme,pro,-1,{ANCHOR},,,,", "monthly_credits: greater_than_equal"),
        (f"account,acme,pro,500,{ANCHOR},unlimited,,,", "remaining_credits: int_type"),
        (f"account,acme,pro,500,{ANCHOR},,unlimited,,", "seats: int_type"),
        ("purchase,acme,,,,,,7,", "purchase_id: missing"),
        ("purchase,acme,,,,,,0,buy-1", "credits: greater_than_equal"),
        ("account,,,,,,,,", "account_id: missing, plan_id: missing, monthly_credits: missing, "),
        (",acme,,,,,,,", "record: missing"),
    ],
)
def test_a_bad_csv_line_spoils_no_other(line: str, detail: str) -> None:
    refused, good = read(csv(line, CSV_ACCOUNT), "csv")

    assert isinstance(refused, RefusedRow)
    assert (refused.line, refused.reason) == (2, "bad-row")
    assert refused.detail.startswith(detail)
    assert isinstance(good, Row)
    assert good.line == 3


def test_a_csv_line_that_is_not_utf8_spoils_no_other() -> None:
    refused, good = read(csv("account,m\N{LATIN SMALL LETTER U WITH DIAERESIS}ller").decode().encode("latin-1")
                         + b"\n" + CSV_ACCOUNT.encode(), "csv")  # fmt: skip

    assert refused == RefusedRow(2, None, None, "bad-row", "not UTF-8")
    assert isinstance(good, Row)


def test_empty_lines_are_no_rows() -> None:
    assert [row.line for row in read(csv("", CSV_ACCOUNT, ",,,,,,,,", CSV_ACCOUNT, "", ""), "csv")] == [3, 5]
    assert [row.line for row in read(b"\n \n" + jsonl(ACCOUNT) + b"\n")] == [3]
    assert read(b"") == []


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    assert isinstance(read(b"\xef\xbb\xbf" + jsonl(ACCOUNT))[0], Row)
    assert isinstance(read(b"\xef\xbb\xbf" + csv(CSV_ACCOUNT), "csv")[0], Row)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has no column record and no column account_id in its first line, which is the header"),
        (CSV_ACCOUNT.encode(), "has no column record and no column account_id in its first line, which is the header"),
        (b"record,plan_id\n", "has no column account_id in its first line, which is the header"),
        (b"record,account_id,colour,credits,size\n", "has columns that are not known: colour, size"),
        (b"record,account_id,record\n", "has a column twice"),
        (b'record,"account_id\n', "has no header that can be read: not CSV: a quote is left open"),
        (b"record" * 20_000, "has no column record and no column account_id in its first line, which is the header"),
        ("record,account_id\n".encode("utf-16"), "is not UTF-8"),
    ],
)
def test_a_csv_file_without_its_header_is_refused_as_a_whole(content: bytes, said: str) -> None:
    with pytest.raises(WrongFile) as caught:
        read(content, "csv")

    assert str(caught.value) == said


def test_a_json_file_that_is_not_utf8_is_refused_as_a_whole() -> None:
    with pytest.raises(WrongFile, match="is not UTF-8"):
        read(jsonl(ACCOUNT).decode().encode("utf-16"))


@pytest.mark.parametrize(
    "before",
    [
        [],
        [ACCOUNT, ACCOUNT | {"account_id": "other"}],
        [ACCOUNT, ACCOUNT | {"seats": "many"}],
        [ACCOUNT, ACCOUNT | {"account_id": ""}],
    ],
)
@pytest.mark.parametrize("row", [PURCHASE, PROSPECT])
def test_a_row_without_its_accounts_row_is_refused(before: list[dict[str, object]], row: dict[str, object]) -> None:
    refused = read(jsonl(*before, row, row))[len(before) :]

    assert [r.reason for r in refused if isinstance(r, RefusedRow)] == ["no-account-row"] * 2
    assert isinstance(refused[0], RefusedRow)
    assert refused[0].account_id == "acme"
    assert refused[0].detail == "its account's row does not precede it"


def test_what_is_refused_between_does_not_part_an_accounts_rows() -> None:
    rows = read(jsonl(ACCOUNT, PURCHASE | {"credits": 0}) + b"{\n" + jsonl(PROSPECT))

    assert isinstance(rows[3], Row)


def test_the_account_is_named_where_it_can_be_read() -> None:
    named, unnamed = read(jsonl(ACCOUNT | {"plan_id": ""}, ACCOUNT | {"account_id": "x" * 129, "plan_id": ""}))

    assert isinstance(named, RefusedRow)
    assert isinstance(unnamed, RefusedRow)
    assert (named.account_id, unnamed.account_id) == ("acme", None)


def test_no_value_is_repeated() -> None:
    secret = "s3cret-" * 20
    fields = [ACCOUNT | {name: secret for name in ACCOUNT if name != "record"}, PROSPECT | {"record": secret}]
    rows = read(jsonl(*fields) + secret.encode() + b"\n") + read(csv(f'account,"{secret}'), "csv")

    assert len(rows) == 4
    assert "s3cret" not in str(rows)


def test_the_fields_are_those_of_the_page() -> None:
    table = PAGE.read_text().partition("| field | of | meaning |")[2].partition("\n\n")[0]
    heads = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]

    assert {"record", *re.findall(r"`(\w+)`", "".join(heads))} == set(COLUMNS)


def test_of_a_line_that_is_too_long_only_its_bound_is_held() -> None:
    asked = []

    class File(BytesIO):
        def readline(self, size: int | None = -1, /) -> bytes:
            asked.append(size)
            return super().readline(size)

    content = b"x" * LINE_BYTES_MAX + b"\n" + b"y" * (5 * LINE_BYTES_MAX) + b"\nz"

    assert [(n, line and line[:1]) for n, line in lines_of(File(content).readline)] == [(1, b"x"), (2, None), (3, b"z")]
    assert set(asked) == {LINE_BYTES_MAX + 1}
