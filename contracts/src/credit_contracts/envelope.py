"""Encodes and decodes CloudEvents 1.0 over Kafka; written by hand, since the credit service decodes every message."""

import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError, from_json, to_json

from credit_contracts.dead_letters import UnreadableReason, reasons_of
from credit_contracts.ids import ID_CHARACTERS_MAX, OWN_ID_CHARACTERS_MAX, SOURCE_CHARACTERS_MAX
from credit_contracts.incoming import INCOMING, IncomingData
from credit_contracts.outgoing import OUTGOING, OutgoingData
from credit_contracts.times import format_time, parse_time

MAX_VALUE_BYTES: Final = 1024 * 1024
DETAIL_CHARACTERS_MAX: Final = 500
TYPE_CHARACTERS_MAX: Final = 128
UNREADABLE_REASONS: Final = reasons_of("message")
"""The reasons of messages that cannot be read, and their meanings."""

Headers: TypeAlias = Sequence[tuple[str, bytes | None]]

D = TypeVar("D", bound=BaseModel)
D_co = TypeVar("D_co", bound=BaseModel, covariant=True)


@dataclass(frozen=True, slots=True)
class Event(Generic[D_co]):
    """One event: `source` and `id` name the attempt it reports, `time` is in UTC."""

    source: str
    id: str
    type: str
    time: datetime
    data: D_co


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a record is no event. `detail` names fields and kinds of error and never repeats a value.

    `time` is the event's own, where the envelope could be read.
    """

    reason: UnreadableReason
    detail: str
    time: datetime | None


@dataclass(frozen=True, slots=True)
class Encoded:
    """A Kafka record for a producer's `send`. Its topic is the event's type."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


def decode(
    headers: Headers | None, value: bytes | None, *, topic_type: str | None = None
) -> Event[IncomingData] | Unreadable:
    """Read an incoming record in binary or structured mode; never raises, whatever the bytes.

    Given `topic_type`, an event of another type is unreadable. Of a repeated key in an object, the last one counts.
    """
    return _decode(headers, value, INCOMING, ID_CHARACTERS_MAX, topic_type)


def decode_outgoing(headers: Headers | None, value: bytes | None) -> Event[OutgoingData] | Unreadable:
    """Read a record of the topics `balance-changed` and `insufficient-credits`; never raises."""
    return _decode(headers, value, OUTGOING, OWN_ID_CHARACTERS_MAX, None)


def encode(event: Event[IncomingData | OutgoingData]) -> Encoded:
    """Write an event in binary mode, the same bytes each time."""
    return Encoded(
        key=event.data.account_id.encode(),
        value=encode_data(event.data),
        headers=binary_headers(event.source, event.id, event.type, event.time),
    )


def encode_data(data: IncomingData | OutgoingData) -> bytes:
    """Write the value alone, as `encode` does."""
    return to_json(data)


def binary_headers(source: str, event_id: str, event_type: str, time: datetime) -> list[tuple[str, bytes]]:
    """Write the headers alone, as `encode` does, for a value that is already encoded."""
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id.encode()),
        ("ce_source", source.encode()),
        ("ce_type", event_type.encode()),
        ("ce_time", _written(time)),
        ("content-type", b"application/json"),
    ]


def encode_structured(event: Event[IncomingData | OutgoingData]) -> Encoded:
    """Write an event in structured mode, the same bytes each time."""
    return Encoded(
        key=event.data.account_id.encode(),
        value=to_json(
            {
                "specversion": "1.0",
                "id": event.id,
                "source": event.source,
                "type": event.type,
                "time": format_time(event.time),
                "datacontenttype": "application/json",
                "data": event.data,
            }
        ),
        headers=[("content-type", b"application/cloudevents+json; charset=utf-8")],
    )


@lru_cache(maxsize=1_024)
def _written(time: datetime) -> bytes:
    """Format a time; cached, since events that are published together have one time."""
    return format_time(time).encode()


class _RefusedError(Exception):
    """The record is unreadable."""

    def __init__(self, reason: UnreadableReason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason: UnreadableReason = reason
        self.detail = detail


class _Opened(NamedTuple):
    """An envelope and its payload: JSON bytes, or an object parsed from JSON."""

    source: str
    id: str
    type: str
    time: datetime
    payload: object


def _decode(
    headers: Headers | None,
    value: bytes | None,
    models: Mapping[str, type[D]],
    id_characters_max: int,
    topic_type: str | None,
) -> Event[D] | Unreadable:
    if value is None:
        return Unreadable("no-value", "value: missing", None)
    if len(value) > MAX_VALUE_BYTES:
        return Unreadable("too-large", f"value: {len(value)} bytes, the most is {MAX_VALUE_BYTES}", None)
    try:
        source, id_, type_, time, payload = _open(headers or (), value, id_characters_max)
    except _RefusedError as refused:
        return Unreadable(refused.reason, refused.detail, None)
    model = models.get(type_)
    if model is None:
        return Unreadable("unknown-type", "type: not one of " + ", ".join(models), time)
    if topic_type is not None and type_ != topic_type:
        return Unreadable("wrong-topic", f"type: {type_} in a topic for {topic_type}", time)
    try:
        if isinstance(payload, bytes):
            # As model_validate_json, without its checks of unused options.
            data = model.__pydantic_validator__.validate_json(payload, context=time)
        else:
            data = model.model_validate(payload, context=time)
    except ValidationError as error:
        return _bad_data(error, time)
    return Event(source, id_, type_, time, data)


def _open(headers: Headers, value: bytes, id_characters_max: int) -> _Opened:
    found = dict(headers)
    if len(found) != len(headers):
        _refuse_repeated(headers)
    content_type = found.get("content-type")
    if content_type is None:
        content_type = _content_type_in_any_case(headers)
    if content_type is not None and content_type != b"application/json" and _is_structured(content_type):
        return _open_structured(value, id_characters_max)
    if found.get("ce_specversion") != b"1.0":
        _specversion(_header(found, "ce_specversion"), "ce_specversion")
    return _Opened(
        _header_attribute(found, "ce_source", SOURCE_CHARACTERS_MAX),
        _header_attribute(found, "ce_id", id_characters_max),
        _header_attribute(found, "ce_type", TYPE_CHARACTERS_MAX),
        _time(_header_attribute(found, "ce_time", SOURCE_CHARACTERS_MAX), "ce_time"),
        value,
    )


def _open_structured(value: bytes, id_characters_max: int) -> _Opened:
    try:
        event = from_json(value)
    except ValueError as error:
        # The parser's message has the expected token and the position, and no value.
        raise _RefusedError("not-json", f"value: {error}") from None
    if not isinstance(event, dict):
        raise _RefusedError("bad-envelope", "value: not an object")
    _specversion(event.get("specversion"), "specversion")
    content_type = event.get("datacontenttype")
    if content_type is not None:
        _is_structured(_attribute(content_type, "datacontenttype", SOURCE_CHARACTERS_MAX).encode())
    return _Opened(
        _attribute(event.get("source"), "source", SOURCE_CHARACTERS_MAX),
        _attribute(event.get("id"), "id", id_characters_max),
        _attribute(event.get("type"), "type", TYPE_CHARACTERS_MAX),
        _time(_attribute(event.get("time"), "time", SOURCE_CHARACTERS_MAX), "time"),
        _payload(event),
    )


def _payload(event: dict[str, object]) -> object:
    encoded = event.get("data_base64")
    if encoded is None:
        return event.get("data")
    if event.get("data") is not None:
        raise _RefusedError("bad-envelope", "data_base64: there is data as well")
    if not isinstance(encoded, str):
        raise _RefusedError("bad-envelope", "data_base64: not a string")
    try:
        return b64decode(encoded, validate=True)
    except ValueError:
        raise _RefusedError("bad-envelope", "data_base64: not base64") from None


def _header(found: Mapping[str, bytes | None], name: str) -> str | None:
    value = found.get(name)
    if value is None:
        if name in found:
            raise _RefusedError("bad-header", f"{name}: null")
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise _RefusedError("bad-header", f"{name}: not UTF-8") from None


def _header_attribute(found: Mapping[str, bytes | None], name: str, characters_max: int) -> str:
    value = found.get(name)
    # The fast path for almost every header.
    if value and len(value) <= characters_max and value.isascii() and (text := value.decode()).isprintable():
        return text
    return _attribute(_header(found, name), name, characters_max)


_control_character: Final = re.compile(r"[\u0000-\u001f\u007f-\u009f]").search


def _attribute(value: object, name: str, characters_max: int) -> str:
    if value is None:
        raise _RefusedError("bad-envelope", f"{name}: missing")
    if not isinstance(value, str):
        raise _RefusedError("bad-envelope", f"{name}: not a string")
    if not value:
        raise _RefusedError("bad-envelope", f"{name}: empty")
    if len(value) > characters_max:
        raise _RefusedError("bad-envelope", f"{name}: longer than {characters_max} characters")
    # isprintable is fast, and also false for unusual characters that are allowed.
    if not value.isprintable() and _control_character(value):
        raise _RefusedError("bad-envelope", f"{name}: has a control character")
    return value


def _time(text: str, name: str) -> datetime:
    try:
        return parse_time(text)
    except PydanticCustomError as error:
        raise _RefusedError("bad-envelope", f"{name}: {error.type}") from None


def _specversion(value: object, name: str) -> None:
    if _attribute(value, name, TYPE_CHARACTERS_MAX) != "1.0":
        raise _RefusedError("bad-envelope", f"{name}: not 1.0")


_READ_HEADERS: Final = ("ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "content-type")


def _refuse_repeated(headers: Headers) -> None:
    names = [name for name, _ in headers]
    for name in _READ_HEADERS:
        if names.count(name) > 1:
            raise _RefusedError("bad-header", f"{name}: repeated")


def _content_type_in_any_case(headers: Headers) -> bytes | None:
    for name, value in headers:
        if name.lower() == "content-type":
            if value is None:
                raise _RefusedError("bad-header", "content-type: null")
            return value
    return None


def _is_structured(content_type: bytes) -> bool:
    """Return whether the mode is structured; refuse any other content type than those of the two modes."""
    media_type, *parameters = (part.strip() for part in content_type.lower().split(b";"))
    for parameter in parameters:
        name, _, charset = parameter.partition(b"=")
        if name == b"charset" and charset.strip(b'"') not in (b"utf-8", b"us-ascii"):
            raise _RefusedError("wrong-content-type", "content-type: a charset other than UTF-8")
    if media_type == b"application/cloudevents+json":
        return True
    is_json = media_type in (b"application/json", b"text/json") or media_type.endswith(b"+json")
    if not is_json or media_type.startswith(b"application/cloudevents"):
        raise _RefusedError("wrong-content-type", "content-type: not JSON")
    return False


def _bad_data(error: ValidationError, time: datetime) -> Unreadable:
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    if errors[0]["type"] == "json_invalid":
        return Unreadable("not-json", f"value: {errors[0]['msg']}"[:DETAIL_CHARACTERS_MAX], time)
    detail = ", ".join(f"{'.'.join(map(str, e['loc'])) or 'value'}: {e['type']}" for e in errors)
    return Unreadable("bad-data", detail[:DETAIL_CHARACTERS_MAX], time)
