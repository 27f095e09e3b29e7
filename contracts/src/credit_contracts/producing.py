"""For producers: build events that the credit service can read, and ids that retries keep."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, ParamSpec, TypeVar
from uuid import UUID, uuid5

from pydantic import ValidationError
from pydantic_core import PydanticCustomError, to_json

from credit_contracts.envelope import Event, Unreadable, decode, encode
from credit_contracts.incoming import INCOMING, IncomingData
from credit_contracts.naming import topic_name
from credit_contracts.outgoing import SERVICE_SOURCE
from credit_contracts.times import in_utc

P = ParamSpec("P")
D = TypeVar("D", bound=IncomingData)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

# Never change this: a retry after an upgrade needs the id of the first try.
_ATTEMPTS: Final = UUID("29b449f9-a279-5a26-bbfd-37eecb4c59a1")


class InvalidEvent(ValueError):  # noqa: N818 - reads as the condition that it reports
    """The event could not be read. The message names fields and their errors, and never a value."""


def build(
    model: Callable[P, D], source: str, event_id: str, time: datetime, /, *args: P.args, **fields: P.kwargs
) -> Event[D]:
    """Return the event that `encode` writes and the credit service reads; raises InvalidEvent.

    `model` is the class of the data, `fields` are its fields. `source` and `event_id` name the attempt (see
    `attempt_id`), `time` is when it happened.
    """
    if unknown := fields.keys() - getattr(model, "model_fields", fields).keys():
        raise InvalidEvent(", ".join(f"{name}: no such field" for name in sorted(unknown)))
    try:
        data = model(*args, **fields)
    except ValidationError as error:
        raise InvalidEvent(_describe(error)) from None
    event = Event(source, event_id, topic_name(type(data)), _utc(time), data)
    _check(event)
    return event


def attempt_id(event_type: str, account_id: str, *names: str, attempt: int) -> str:
    """Return the id of an attempt, always the same for the same attempt.

    An attempt is one request for one effect. `names` identify it in your own data; the README has a table: for a charge
    the prospect, otherwise the occurrence (a change of plan, a bounce, a deletion), which may recur with the same
    content. A repeated id with the same content is dropped silently; `time` is not part of the content.
    `attempt` counts the requests under these names, from 1. A retry, because no answer came or after a crash, keeps the
    number. A charge after a decline, or after the prospect was deleted, is a new attempt with the next number, which
    you store with your data.
    """
    if not all(isinstance(name, str) for name in (event_type, account_id, *names)):
        raise TypeError("event_type, account_id and names: each a str")
    if type(attempt) is not int:
        raise TypeError("attempt: an int")
    if event_type not in INCOMING:
        raise ValueError("event_type: not one of " + ", ".join(INCOMING))
    if attempt < 1:
        raise ValueError("attempt: counted from 1")
    if not all([account_id, names, *names]):
        raise ValueError("account_id and names: each a name that is not empty")
    return str(uuid5(_ATTEMPTS, to_json([event_type, account_id, *names, attempt]).decode()))


def _check(event: Event[IncomingData]) -> None:
    """Raise InvalidEvent where the service would refuse the event without looking at its clock or ledger."""
    if event.source == SERVICE_SOURCE:
        raise InvalidEvent("source: that of the credit service's own events")
    if event.time < _EPOCH:
        raise InvalidEvent("time: before 1970")
    try:
        record = encode(event)
    except (UnicodeEncodeError, AttributeError):
        raise InvalidEvent("source, id: not text that UTF-8 can write") from None
    read = decode(record.headers, record.value)
    if isinstance(read, Unreadable):
        raise InvalidEvent(read.detail.removeprefix("ce_"))


def _utc(time: object) -> datetime:
    if not isinstance(time, datetime):
        raise InvalidEvent("time: not a datetime")
    try:
        return in_utc(time)
    except PydanticCustomError as error:
        raise InvalidEvent(f"time: {error.message()}") from None


def _describe(error: ValidationError) -> str:
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    return ", ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in errors)
