"""Reads dead letters as far as possible: the envelope, and the prospect."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic_core import from_json

from credit_contracts.envelope import Event, Headers, decode


@dataclass(frozen=True, slots=True)
class Readable:
    """The readable parts of an envelope, None where unreadable. `occurred_at` is the event's own time."""

    source: str | None
    id: str | None
    type: str | None
    occurred_at: datetime | None


def read_letter(headers: Headers, value: bytes | None) -> Readable:
    """Reads a letter as the intake does; of an unreadable one, the parts of the envelope. Never raises."""
    found = decode(headers, value)
    if isinstance(found, Event):
        return Readable(found.source, found.id, found.type, found.time)
    given = {name: _text(content) for name, content in headers}
    envelope = _object(value) if given.get("ce_id") is None else {}
    names = ("source", "id", "type")
    source, event_id, event_type = (given.get(f"ce_{name}") or _string(envelope.get(name)) for name in names)
    return Readable(source, event_id, event_type, found.time)


def names_prospect(value: bytes | None, prospect_id: str) -> bool:
    """Whether the letter is about the prospect; a value that is no JSON is searched for the id."""
    if value is None:
        return False
    data = _object(value)
    if not data:
        return prospect_id.encode() in value
    within = data.get("data")
    return prospect_id in (data.get("prospect_id"), within.get("prospect_id") if isinstance(within, dict) else None)


def _object(value: bytes | None) -> dict[str, Any]:
    try:
        read = from_json(value or b"")
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def _text(content: bytes | None) -> str | None:
    try:
        return None if content is None else content.decode()
    except UnicodeDecodeError:
        return None


def _string(found: object) -> str | None:
    return found if isinstance(found, str) else None
