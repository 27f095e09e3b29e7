"""The extreme values of every field of every incoming contract, from its JSON Schema; new fields are covered."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import available_timezones

from credit_contracts import INCOMING, Event, IncomingData, Unreadable, decode
from credit_contracts.envelope import TYPE_CHARACTERS_MAX
from credit_contracts.ids import ID_CHARACTERS_MAX, SOURCE_CHARACTERS_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

UUID: Final = "0f8fad5b-d9cb-469f-a165-70867728950e"

# Where one byte, one encoding, one table of widths or one program that reads what comes out ends.
CHARACTERS = "a~\u00a0\u07ff\u2028\ud7ff\ue000\ufeff\ufffe\uffff\U00010000\U0010ffff"
TEXTS = (
    UUID,
    UUID.upper(),
    UUID.replace("-", ""),
    "x" * 16,
    "\u00e9" * 8,
    " ",
    "0",
    "null",
    "NaN",
    "-1",
    '"\\/\\u0000',
    "\\x00",
    "=1+1",
    "'+@-,;\"",
    "../..%2F?a=b#c&d+e;",
    "{}[]()<b>$1%s",
    "[red]not a style[/]",
    "e\u0301\u202e\u200d\U0001f468\u200d\U0001f469",
    ":d:1",
)

TIMES = (
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+23:59",
    "0001-01-01T23:59:00+23:59",
    "1969-12-31T23:59:59.999999Z",
    "1970-01-01T00:00:00Z",
    "1970-01-01T23:59:00+23:59",
    "9999-12-31T23:59:59.999999Z",
    "9999-12-31T23:59:59.999998Z",
    "9999-12-31T23:59:59Z",
    "9999-12-31T00:00:59.999999-23:59",
    "9999-12-31T23:59:59.999999-23:59",
    "9999-12-31T23:59:59.999999+23:59",
    "4714-11-24T00:00:00Z",
    "2038-01-19T03:14:08Z",
    "2106-02-07T06:28:16.000001Z",
)


@dataclass(frozen=True)
class Extreme:
    """One field at one of its extremes, or one of the envelope's attributes; all else is ordinary."""

    type: str
    field: str
    told: str
    value: bytes
    headers: Mapping[str, str]

    @property
    def raw_headers(self) -> list[tuple[str, bytes | None]]:
        return [(f"ce_{name}", text.encode()) for name, text in self.headers.items()]

    @property
    def read(self) -> Event[IncomingData] | Unreadable:
        return decode(self.raw_headers, self.value, topic_type=self.type)


def extremes(now: datetime) -> Iterator[Extreme]:
    """Those of all incoming contracts, also some that are refused: which, `read` says."""
    for event_type, model in INCOMING.items():
        properties = model.model_json_schema()["properties"]
        made = 0
        for field, schema in properties.items():
            for told, value in of_field(schema, now):
                made += 1
                yield _extreme(event_type, field, told, properties, now, made, {field: value})
        for field, schema in {"": {"type": "unknown"}, **properties}.items():
            if "default" in schema:
                made += 1
                yield _extreme(event_type, field, "absent", properties, now, made, {field: ABSENT})
        for name, told, text in _of_envelope(now):
            made += 1
            yield _extreme(event_type, f"ce_{name}", told, properties, now, made, {}, {name: text})
        for told, unknown in (("deep", '{"a":' * 100 + "1" + "}" * 100), ("long", '"' + "\U0001f600" * 200_000 + '"')):
            made += 1
            yield _extreme(event_type, "unknown", told, properties, now, made, {"unknown": json.loads(unknown)})


ABSENT = object()


def of_field(schema: Mapping[str, Any], now: datetime) -> Iterator[tuple[str, object]]:
    """The extremes of one field, each with what it is."""
    for choice in schema.get("anyOf", [schema]):
        if choice.get("type") == "null":
            yield "null", None
        elif "enum" in choice or "const" in choice:
            yield from ((str(value), value) for value in choice.get("enum", [choice.get("const")]))
        elif choice.get("type") == "integer":
            yield from ((name, choice[name]) for name in ("minimum", "maximum"))
        elif choice.get("format") == "date-time":
            near = [now + timedelta(microseconds=1), now - timedelta(days=5 * 365), now + timedelta(days=5 * 365)]
            yield from ((text, text) for text in (*TIMES, *(moment.isoformat() for moment in near)))
        elif "maxLength" in choice:
            longest = choice["maxLength"]
            yield from ((f"{character!r} * {longest}", character * longest) for character in CHARACTERS)
            yield from ((repr(text), text) for text in TEXTS)
            yield "shortest", "\U0010ffff" * choice.get("minLength", 0)
        else:
            # The one text without a length of its own.
            assert schema["title"] == "Time Zone", f"what are the extremes of {schema}?"
            zones = sorted(available_timezones() - {"localtime", "Factory"})
            ends = {min(zones, key=len), max(zones, key=len), "Pacific/Kiritimati", "Etc/GMT+12", "Etc/GMT-14"}
            yield from ((zone, zone) for zone in sorted(ends | {"Asia/Kathmandu", "Antarctica/Troll", "Europe/Berlin"}))


def _of_envelope(now: datetime) -> Iterator[tuple[str, str, str]]:
    for character in CHARACTERS:
        yield "id", f"{character!r} * {ID_CHARACTERS_MAX}", character * ID_CHARACTERS_MAX
        yield "source", f"{character!r} * {SOURCE_CHARACTERS_MAX}", character * SOURCE_CHARACTERS_MAX
    for text in TEXTS:
        yield "id", repr(text), text
        yield "source", repr(text), text
    yield "type", "too long", "x" * TYPE_CHARACTERS_MAX
    for text in (*TIMES, (now + timedelta(minutes=4)).isoformat()):
        yield "time", text, text


def _extreme(
    event_type: str,
    field: str,
    told: str,
    properties: Mapping[str, Any],
    now: datetime,
    made: int,
    changed: Mapping[str, object],
    attributes: Mapping[str, str] | None = None,
) -> Extreme:
    ordinary = {name: _ordinary(name, schema, made, event_type) for name, schema in properties.items()}
    data = {name: value for name, value in (ordinary | dict(changed)).items() if value is not ABSENT}
    headers = {"specversion": "1.0", "id": f"{event_type}-{made}", "source": "/extremes", "type": event_type}
    headers["time"] = now.astimezone(UTC).isoformat()
    value = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
    return Extreme(event_type, field, told, value, headers | dict(attributes or {}))


def _ordinary(name: str, schema: Mapping[str, Any], made: int, event_type: str) -> object:
    """A value of the field that is none of its extremes; of what may be absent: nothing."""
    if name == "account_id":
        return f"{event_type}-{made}"
    if "default" in schema:
        return ABSENT
    kinds = {choice.get("type") for choice in schema.get("anyOf", [schema])}
    return 100 if "integer" in kinds else f"{name}-1"
