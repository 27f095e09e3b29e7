"""Writes the page of all topics: `python -m credit_contracts.topics_page > TOPICS.md`."""

import sys
from collections.abc import Iterator
from typing import Any, Final

from credit_contracts.examples import examples
from credit_contracts.schemas import file_name, schema, versions
from credit_contracts.topics import TOPICS, TopicContract

_HEAD: Final = """# The topics of the credit service

What producers, consumers and operators may rely on, a section a topic. The name of a topic is the `ce_type` of its
events. This page is made from the code by `python -m credit_contracts.topics_page`.

"""
_PACKAGE: Final = "src/credit_contracts"


def page() -> str:
    """Return the whole page in Markdown."""
    sections = "\n".join("\n".join(_section(topic)) + "\n" for topic in TOPICS)
    return _HEAD + "\n".join(_contents()) + "\n\n" + sections


def _contents() -> Iterator[str]:
    yield "| topic | from | to | what |"
    yield "|---|---|---|---|"
    for topic in TOPICS:
        link = f"[`{topic.name}`](#{topic.name})"
        yield f"| {link} | {_names(topic.producers)} | {_names(topic.consumers)} | {topic.description} |"


def _section(topic: TopicContract) -> Iterator[str]:
    yield f"## {topic.name}"
    yield ""
    yield topic.description
    yield ""
    yield "| | |"
    yield "|---|---|"
    for name, value in _terms(topic):
        yield f"| {name} | {value} |"
    if topic.model is not None:
        yield ""
        yield from _fields(schema(topic.name), "always" if topic.direction == "out" else "needed")


def _terms(topic: TopicContract) -> Iterator[tuple[str, str]]:
    yield "producers", _names(topic.producers)
    yield "consumers", _names(topic.consumers)
    yield "key", topic.key if topic.model is None else f"`{topic.key}`, placed by murmur2"
    yield "partitions", f"{topic.partitions}"
    yield "retention", f"{topic.retention_days} days, `cleanup.policy={topic.cleanup_policy}`"
    yield "record", f"at most {topic.max_message_bytes:,} bytes"
    if topic.timestamp_type is not None:
        yield "timestamp", f"the broker's, `message.timestamp.type={topic.timestamp_type}`"
    yield "order", topic.ordering
    yield "delivery", topic.delivery
    yield "compatibility", topic.compatibility
    if topic.model is not None:
        links = [f"[v{v}]({_PACKAGE}/schemas/{file_name(topic.name, v)})" for v in versions(topic.name)]
        yield "schema", ", ".join(links)
    names = [example.name for example in examples(topic.name)]
    yield "examples", ", ".join(f"[{name}]({_PACKAGE}/examples/{name}.json)" for name in names)


def _names(services: tuple[str, ...]) -> str:
    return ", ".join(services)


def _fields(body: dict[str, Any], required: str) -> Iterator[str]:
    yield "| field | | type | |"
    yield "|---|---|---|---|"
    for name, is_required, field in _flat(body, body):
        yield f"| `{name}` | {required if is_required else 'optional'} | {_type(field)} | {_description(field)} |"


def _flat(body: dict[str, Any], root: dict[str, Any], within: str = "") -> Iterator[tuple[str, bool, dict[str, Any]]]:
    for name, field in body["properties"].items():
        if "$ref" in field:
            yield from _flat(root["$defs"][field["$ref"].rpartition("/")[2]], root, f"{within}{name}.")
        else:
            yield within + name, name in body["required"], field


def _type(field: dict[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_type(one) for one in field["anyOf"])
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if field.get("format") == "date-time":
        return "time"
    at_least, at_most = (
        next((field[name] for name in names if name in field), None)
        for names in (("minimum", "minLength"), ("maximum", "maxLength"))
    )
    unit = " characters" if field["type"] == "string" else ""
    if at_least is None and at_most is None:
        return str(field["type"])
    if at_most is None:
        return f"{field['type']}, at least {at_least:,}{unit}"
    return f"{field['type']}, {at_least or 0:,} to {at_most:,}{unit}"


def _description(field: dict[str, Any]) -> str:
    if "description" in field:
        return str(field["description"])
    return next((_description(one) for one in field.get("anyOf", ()) if "description" in one), "")


if __name__ == "__main__":
    sys.stdout.write(page())
