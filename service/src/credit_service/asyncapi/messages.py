"""The messages of the AsyncAPI document: headers of both CloudEvents modes, payloads, keys and examples."""

import json
from collections.abc import Iterable
from copy import deepcopy
from typing import Any, Final

from credit_contracts import dead_letters
from credit_contracts.envelope import TYPE_CHARACTERS_MAX, Event, decode, encode_structured
from credit_contracts.examples import Example, examples
from credit_contracts.ids import ID_CHARACTERS_MAX, OWN_ID_CHARACTERS_MAX, SOURCE_CHARACTERS_MAX
from credit_contracts.outgoing import SERVICE_SOURCE
from credit_contracts.schemas import schema
from credit_contracts.topics import TopicContract
from credit_service.application.tracing import TRACEPARENT

BINDING: Final = "0.5.0"
NO_CONTROL_CHARACTERS: Final = r"^[^\u0000-\u001f\u007f-\u009f]*$"
STRUCTURED: Final = "application/cloudevents+json"

Json = dict[str, Any]


def messages_of(topic: TopicContract) -> list[Json]:
    """The messages of a topic; incoming events in both modes, since the service reads both."""
    if topic.model is None:
        return [_dead_letter(topic)]
    found = examples(topic.name)
    binary = _message(topic, topic.model.__name__, _binary_headers(topic), ref("components", "schemas", topic.name))
    binary["examples"] = [_shown(example) for example in found if not example.is_structured]
    if topic.direction == "out":
        return [binary]
    name = f"{topic.model.__name__}Structured"
    structured = _message(topic, name, _structured_headers(), _structured_payload(topic))
    structured["contentType"] = STRUCTURED
    structured["title"] += ", structured"
    structured["examples"] = [_shown(example) for example in found if example.is_structured] or [_enveloped(found[0])]
    return [binary, structured]


def _message(topic: TopicContract, name: str, headers: Json, payload: Json) -> Json:
    return {
        "name": name,
        "title": topic.name,
        "summary": topic.description,
        "contentType": "application/json",
        "headers": headers,
        "payload": payload,
        "bindings": {"kafka": {"key": _key(topic), "bindingVersion": BINDING}},
    }


def _key(topic: TopicContract) -> Json:
    if topic.model is None:
        description = (
            f"The original key; null if it had none, or more than {dead_letters.PUBLISHED_KEY_BYTES_MAX:,} bytes: then "
            "its size and hash are in the headers."
        )
        return {"type": ["string", "null"], "description": description}
    return {**_text(ID_CHARACTERS_MAX), "description": f"The {topic.key}, in UTF-8."}


def _text(characters_max: int) -> Json:
    return {"type": "string", "minLength": 1, "maxLength": characters_max, "pattern": NO_CONTROL_CHARACTERS}


def _attributes(topic: TopicContract) -> Json:
    """The required CloudEvents attributes, which both modes have."""
    is_own = topic.direction == "out"
    source: Json = {**_text(SOURCE_CHARACTERS_MAX), "description": "The sender, as a URI reference."}
    return {
        "specversion": {"type": "string", "const": "1.0"},
        "id": {
            **_text(OWN_ID_CHARACTERS_MAX if is_own else ID_CHARACTERS_MAX),
            "description": "Names the event within its source, for good.",
        },
        "source": {"type": "string", "const": SERVICE_SOURCE} if is_own else source,
        "type": {"type": "string", "const": topic.name, "maxLength": TYPE_CHARACTERS_MAX},
        "time": {
            "type": "string",
            "format": "date-time",
            "description": "When it was recorded." if is_own else "When it happened, not when it was sent.",
        },
    }


def _binary_headers(topic: TopicContract) -> Json:
    attributes = {f"ce_{name}": body for name, body in _attributes(topic).items()}
    content_type: Json = {
        "type": "string",
        "description": "JSON in UTF-8, also without this header.",
    }
    if topic.direction == "out":
        content_type = {"type": "string", "const": "application/json"}
    needed = [*attributes, *(["content-type"] if topic.direction == "out" else [])]
    traceparent = {"type": "string", "description": "W3C trace context, if there is a trace; not part of the event."}
    properties = attributes | {"content-type": content_type, TRACEPARENT: traceparent}
    return {"type": "object", "properties": properties, "required": needed}


def _structured_headers() -> Json:
    content_type = {"type": "string", "pattern": rf"^{STRUCTURED.replace('+', '[+]')}(\s*;.*)?$"}
    return {"type": "object", "properties": {"content-type": content_type}, "required": ["content-type"]}


def _structured_payload(topic: TopicContract) -> Json:
    attributes = _attributes(topic)
    data = {
        "data": ref("components", "schemas", topic.name),
        "data_base64": {"type": "string", "description": "The data as JSON in base64, instead of data."},
    }
    return {
        "type": "object",
        "properties": attributes | {"datacontenttype": {"type": ["string", "null"]}} | data,
        "required": list(attributes),
        "oneOf": [{"required": ["data"]}, {"required": ["data_base64"]}],
    }


def _dead_letter(topic: TopicContract) -> Json:
    number = {"type": "string", "pattern": "^[0-9]+$"}
    needed = {
        dead_letters.TOPIC_HEADER: {
            "type": "string",
            "description": "The topic of the original, with its prefix.",
        },
        dead_letters.PARTITION_HEADER: number,
        dead_letters.OFFSET_HEADER: number,
        dead_letters.REASON_HEADER: {
            "type": "string",
            "description": "\n".join(f"- `{reason}`: {text.meaning}" for reason, text in dead_letters.REASONS.items()),
        },
        dead_letters.DETAIL_HEADER: {"type": "string", "description": "What was wrong, without values."},
        dead_letters.TIME_HEADER: {"type": "string", "format": "date-time", "description": "When it was recorded."},
    }
    too_large = {
        dead_letters.KEY_BYTES_HEADER: {
            **number,
            "description": "The size of a key that is left out as too large.",
        },
        dead_letters.KEY_SHA256_HEADER: {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        dead_letters.VALUE_BYTES_HEADER: {
            **number,
            "description": "The size of a value that is left out as too large.",
        },
        dead_letters.VALUE_SHA256_HEADER: {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        dead_letters.HEADERS_BYTES_HEADER: {
            **number,
            "description": "The size of original headers that are left out as too large, as a JSON list of "
            "[name, base64 or null].",
        },
        dead_letters.HEADERS_SHA256_HEADER: {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        dead_letters.UNTIL_HEADER: {
            **number,
            "description": "The offset after a batch that was too large to be unpacked; the value is that batch.",
        },
    }
    headers = {"type": "object", "properties": needed | too_large, "required": list(needed)}
    headers["description"] = (
        f"The original headers, unless they are too large or their names begin with `{dead_letters.PREFIX}`, "
        "followed by these."
    )
    payload = {
        "description": f"The original value, byte for byte; null if it had none, or more than "
        f"{dead_letters.PUBLISHED_VALUE_BYTES_MAX:,} bytes: then its size and hash are in the headers."
    }
    message = _message(topic, "DeadLetter", headers, payload)
    message["contentType"] = "application/octet-stream"
    message["examples"] = [_shown(example) for example in examples(topic.name)]
    return message


def schemas_of(topic: TopicContract) -> Iterable[tuple[str, Json]]:
    """The topic's newest schema and the schemas that it refers to, without keywords that draft 7 lacks."""
    if topic.model is None:
        return
    body = deepcopy(schema(topic.name))
    body.pop("$schema")
    body["x-schema"] = body.pop("$id")
    yield from body.pop("$defs", {}).items()
    yield topic.name, _referring(body)


def _referring(body: Any) -> Any:
    if isinstance(body, list):
        return [_referring(part) for part in body]
    if not isinstance(body, dict):
        return body
    return {
        name: value.replace("#/$defs/", "#/components/schemas/") if name == "$ref" else _referring(value)
        for name, value in body.items()
    }


def _shown(example: Example) -> Json:
    return {
        "name": example.name,
        "headers": {name: value.decode() for name, value in example.headers},
        "payload": json.loads(example.value) if example.value is not None else None,
    }


def _enveloped(example: Example) -> Json:
    event = decode(example.headers, example.value)
    if not isinstance(event, Event):
        raise TypeError(f"the example {example.name} cannot be read")
    encoded = encode_structured(event)
    return _shown(Example(f"{example.name}.structured", example.topic, encoded.key, encoded.headers, encoded.value))


def ref(*path: str) -> Json:
    """A reference within the document."""
    return {"$ref": "#/" + "/".join(path)}
