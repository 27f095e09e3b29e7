"""Golden examples of the records of each topic, one in each file."""

import json
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True, slots=True)
class Example:
    """A whole Kafka record; `value` has exactly the bytes that the credit service would write."""

    name: str
    topic: str
    key: bytes | None
    headers: list[tuple[str, bytes]]
    value: bytes | None

    @property
    def data(self) -> Any:
        """The data of the event, taken out of the envelope in structured mode."""
        value = json.loads(self.value or b"null")
        return value["data"] if self.is_structured else value

    @property
    def is_structured(self) -> bool:
        """Whether the whole event is in the value, not just its data."""
        return any(value.startswith(b"application/cloudevents") for _, value in self.headers)


def examples(topic: str | None = None) -> list[Example]:
    """Return the examples by name: of one topic, or all."""
    return [replace(e, headers=list(e.headers)) for e in _all() if topic in (None, e.topic)]


@cache
def _all() -> list[Example]:
    found = (_load(file.name, file.read_text("utf-8")) for file in files(__name__).iterdir() if _is_json(file.name))
    return sorted(found, key=lambda e: e.name)


def _is_json(name: str) -> bool:
    return name.endswith(".json")


def _load(file_name: str, text: str) -> Example:
    record = json.loads(text)
    return Example(
        name=file_name.removesuffix(".json"),
        topic=record["topic"],
        key=_bytes(record["key"]),
        headers=[(name, value.encode()) for name, value in record["headers"].items()],
        value=_bytes(record["value"]),
    )


def _bytes(part: Any) -> bytes | None:
    if part is None:
        return None
    if isinstance(part, str):
        return part.encode()
    return json.dumps(part, ensure_ascii=False, separators=(",", ":")).encode()
