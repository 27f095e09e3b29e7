"""The rows of a customer base, read line by line from CSV or JSON lines."""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError, from_json

from credit_contracts.envelope import DETAIL_CHARACTERS_MAX
from credit_contracts.ids import AccountId, PlanId, ProspectId, PurchaseId
from credit_contracts.incoming import AMOUNT_MAX, PLAN_YEARS_MAX, Amount, TimeZone
from credit_contracts.times import Instant
from credit_service.domain.command import Command, CommandRefusal, OpenAccount, OpenProspect, OpenPurchase, command_of
from credit_service.domain.event import EARLIEST
from credit_service.domain.prospect import ProspectOrigin

LINE_BYTES_MAX = 64 * 1024
UNLIMITED = "unlimited"

RecordKind = Literal["account", "purchase", "prospect"]
RowRefusal = CommandRefusal | Literal["bad-row", "no-account-row", "refused-by-database"]
RowsFormat = Literal["csv", "jsonl"]

Line: TypeAlias = tuple[int, bytes | None]
"""The number of a line and its bytes; None if it is too long."""

ReadFields = Callable[[bytes], dict[str, object] | None]
"""Reads the fields of one line; None if it is empty. Raises `_BadRow`."""


class WrongFile(Exception):  # noqa: N818 - reads as the condition that it reports
    """The file as a whole cannot be read; none of it was brought in."""


class _BadRow(Exception):  # noqa: N818
    """The line is no row; the message repeats no value."""


@dataclass(frozen=True, slots=True)
class Row:
    """One thing to bring in, with the number of its line."""

    line: int
    record: RecordKind
    command: Command


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that has no effect; `detail` repeats no value. `account_id` and `record` where they can be read."""

    line: int
    account_id: str | None
    record: RecordKind | None
    reason: RowRefusal
    detail: str


class _Fields(BaseModel):
    """The base of all rows: types as strict as in messages, unknown fields ignored, no values in errors."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", hide_input_in_errors=True)

    account_id: AccountId


class _Account(_Fields):
    plan_id: PlanId
    monthly_credits: Amount | None
    seats: Amount | None = None
    email_accounts: Amount | None = None
    billing_anchor_at: Instant
    time_zone: TimeZone | None = None
    remaining_credits: Amount | None = None

    @field_validator("billing_anchor_at")
    @classmethod
    def _of_our_time(cls, moment: datetime, info: ValidationInfo) -> datetime:
        """Accepts any past since 1970, and a future as far from the context, which is now, as a first plan's anchor."""
        latest = info.context or moment
        # Compared as calendar fields, which neither overflow nor stumble over 29 February.
        if moment < EARLIEST or moment.timetuple()[:6] > (latest.year + PLAN_YEARS_MAX, *latest.timetuple()[1:6]):
            raise PydanticCustomError("time_out_of_range", "before 1970, or more than 5 years from now")
        return moment

    def data(self) -> OpenAccount:
        return OpenAccount(
            self.plan_id,
            self.monthly_credits,
            self.seats,
            self.email_accounts,
            self.billing_anchor_at,
            self.time_zone or "UTC",
            self.remaining_credits or 0,
        )


class _Purchase(_Fields):
    purchase_id: PurchaseId
    credits: Annotated[int, Field(ge=1, le=AMOUNT_MAX)]
    expires_at: Instant | None = None

    def data(self) -> OpenPurchase:
        return OpenPurchase(self.purchase_id, self.credits, self.expires_at)


class _Prospect(_Fields):
    prospect_id: ProspectId
    origin: ProspectOrigin

    def data(self) -> OpenProspect:
        return OpenProspect(self.prospect_id, self.origin)


_MODELS: Mapping[RecordKind, type[_Account | _Purchase | _Prospect]] = {
    "account": _Account,
    "purchase": _Purchase,
    "prospect": _Prospect,
}
_NEEDED_COLUMNS = ("record", "account_id")
COLUMNS = tuple(dict.fromkeys(["record", *(name for model in _MODELS.values() for name in model.model_fields)]))
_NUMBERS = frozenset({"monthly_credits", "seats", "email_accounts", "remaining_credits", "credits"})
_whole_number = re.compile(r"-?(?:0|[1-9][0-9]{0,17})").fullmatch


def lines_of(readline: Callable[[int], bytes]) -> Iterator[Line]:
    """The lines, numbered from 1; no more than the bound of a line is held in memory."""
    number = 0
    while line := readline(LINE_BYTES_MAX + 1):
        number += 1
        if len(line) <= LINE_BYTES_MAX or line.endswith(b"\n"):
            yield number, line.rstrip(b"\r\n")
            continue
        while line and not line.endswith(b"\n"):
            line = readline(LINE_BYTES_MAX + 1)
        yield number, None


def begin_rows(lines: Iterator[Line], rows_format: RowsFormat) -> tuple[ReadFields, Iterator[Line]]:
    """The reader of the lines, and the lines that follow; raises `WrongFile` if the first one is wrong."""
    number, first = next(lines, (0, b""))
    try:
        text = "" if first is None else first.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise WrongFile("is not UTF-8") from None
    if rows_format == "csv":
        return _csv_reader(text), lines
    return _json_fields, chain([(number, first and text.encode())], lines)


def read_rows(lines: Iterable[Line], read_fields: ReadFields, now: datetime) -> Iterator[Row | RefusedRow]:
    """The row of each line. The rows of an account have to follow its own row, so that no accounts are remembered."""
    account_id = None
    for number, line in lines:
        try:
            if line is None:
                raise _BadRow(f"longer than {LINE_BYTES_MAX} bytes")
            fields = read_fields(line)
        except _BadRow as bad:
            yield RefusedRow(number, None, None, "bad-row", str(bad))
            continue
        if fields is None:
            continue
        row = _row(number, fields, now)
        named = row.command.account_id if isinstance(row, Row) else None
        if row.record == "account":
            account_id = named
        elif isinstance(row, Row) and named != account_id:
            row = RefusedRow(number, named, row.record, "no-account-row", "its account's row does not precede it")
        yield row


def _row(number: int, fields: Mapping[str, object], now: datetime) -> Row | RefusedRow:
    given = fields.get("record")
    kind = next((known for known in _MODELS if known == given), None)
    if kind is None:
        found = "missing" if given is None else f"not one of {', '.join(_MODELS)}"
        return RefusedRow(number, None, None, "bad-row", f"record: {found}")
    try:
        checked = _MODELS[kind].model_validate(fields, context=now)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False, include_input=False)
        detail = ", ".join(f"{'.'.join(map(str, e['loc']))}: {e['type']}" for e in errors)
        is_named = all(e["loc"] != ("account_id",) for e in errors)
        named = str(fields["account_id"]) if is_named else None
        return RefusedRow(number, named, kind, "bad-row", detail[:DETAIL_CHARACTERS_MAX])
    return Row(number, kind, command_of(checked.account_id, checked.data()))


def _json_fields(line: bytes) -> dict[str, object] | None:
    if not line.strip():
        return None
    try:
        fields = from_json(line)
    except ValueError as error:
        # The parser names what it expected and where, not what it found.
        raise _BadRow(f"not JSON: {error}".replace(" at line 1 column ", " at column ")) from None
    if not isinstance(fields, dict):
        raise _BadRow("not a JSON object")
    return fields


def _csv_reader(header: str) -> ReadFields:
    try:
        columns = _cells(header)
    except _BadRow as bad:
        raise WrongFile(f"has no header that can be read: {bad}") from None
    if missing := [name for name in _NEEDED_COLUMNS if name not in columns]:
        raise WrongFile(f"has no column {' and no column '.join(missing)} in its first line, which is the header")
    if unknown := [name for name in columns if name not in COLUMNS]:
        raise WrongFile(f"has columns that are not known: {', '.join(unknown)[:DETAIL_CHARACTERS_MAX]}")
    if len(set(columns)) < len(columns):
        raise WrongFile("has a column twice")

    def fields(line: bytes) -> dict[str, object] | None:
        try:
            cells = _cells(line.decode())
        except UnicodeDecodeError:
            raise _BadRow("not UTF-8") from None
        if not any(cells):
            return None
        if len(cells) != len(columns):
            raise _BadRow(f"{len(cells)} cells, the header has {len(columns)}")
        return {name: _value(name, cell) for name, cell in zip(columns, cells, strict=True) if cell}

    return fields


def _cells(line: str) -> list[str]:
    # A row is a line: no field may contain a line break, and an open quote spoils one row, not the rest.
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error:
        raise _BadRow(f"not CSV: {_csv_fault(line)}") from None


def _csv_fault(line: str) -> str:
    """The fault of a line, found by repairing it: Python's messages differ between its versions."""
    repaired = {
        "a quote is left open": f'{line}"',
        "a line break in a cell": line.replace("\r", " ").replace("\n", " "),
    }
    for fault, other in repaired.items():
        try:
            next(csv.reader([other], strict=True), [])
        except csv.Error:
            continue
        return fault
    return "text behind a quote that closes a cell"


def _value(name: str, cell: str) -> object:
    if name == "monthly_credits" and cell == UNLIMITED:
        return None
    # A cell that is no whole number stays text, and is refused like text in JSON.
    return int(cell) if name in _NUMBERS and _whole_number(cell) else cell
