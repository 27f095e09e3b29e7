"""JSON Schemas of the data: every version that was published, in files named `TOPIC.vN.json`."""

import json
import re
from importlib.resources import files
from typing import Any, Final

from credit_contracts.examples import examples
from credit_contracts.incoming import INCOMING
from credit_contracts.outgoing import OUTGOING

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

# Keywords that do not affect which messages are valid.
ANNOTATIONS: Final = frozenset({"$schema", "$id", "title", "description", "examples"})


def schema(topic: str, version: int | None = None) -> dict[str, Any]:
    """Return one version of the schema of a topic's data, by default the newest."""
    name = file_name(topic, version or versions(topic)[-1])
    loaded: dict[str, Any] = json.loads(files(__name__).joinpath(name).read_text("utf-8"))
    return loaded


def versions(topic: str) -> list[int]:
    """Return the numbers of the versions that there are of a topic's schema, in order."""
    return published().get(topic, [])


def published() -> dict[str, list[int]]:
    """Return the topics that ever had a schema, each with the numbers of its versions in order."""
    names = (re.fullmatch(r"(.+)\.v(\d+)\.json", file.name) for file in files(__name__).iterdir())
    found: dict[str, list[int]] = {}
    for topic, version in sorted((name[1], int(name[2])) for name in names if name):
        found.setdefault(topic, []).append(version)
    return found


def file_name(topic: str, version: int) -> str:
    """Return the name of the file that holds a version."""
    return f"{topic}.v{version}.json"


def generate() -> dict[str, dict[str, Any]]:
    """Return the schemas by topic as the models have them now, each with the version that it is or would be."""
    incoming = {topic: model.model_json_schema(mode="validation") for topic, model in INCOMING.items()}
    # Outgoing data has all its fields: consumers may rely on more than producers must send.
    outgoing = {topic: model.model_json_schema(mode="serialization") for topic, model in OUTGOING.items()}
    return {topic: _whole(topic, body) for topic, body in (incoming | outgoing).items()}


def rendered(body: dict[str, Any]) -> str:
    """Return a schema as the text of its file."""
    return json.dumps(body, indent=2, ensure_ascii=False) + "\n"


def assertions(body: Any) -> Any:
    """Return the rules of a schema, without descriptions and examples: a change of these makes a new version."""
    if isinstance(body, list):
        return [assertions(part) for part in body]
    if not isinstance(body, dict):
        return body
    return {name: _assertion(name, value) for name, value in body.items() if name not in ANNOTATIONS}


def _assertion(name: str, value: Any) -> Any:
    if name in ("properties", "$defs"):
        # The names of fields are no keywords: one may be called "title".
        return {field: assertions(part) for field, part in value.items()}
    if name in ("required", "enum"):
        return sorted(value, key=str)
    return assertions(value)


def _whole(topic: str, body: dict[str, Any]) -> dict[str, Any]:
    return (
        {"$schema": DIALECT, "$id": f"urn:credit-service:{topic}:v{_version(topic, body)}"}
        | body
        | {"examples": [example.data for example in examples(topic)]}
    )


def _version(topic: str, body: dict[str, Any]) -> int:
    """The version of the schema; descriptions and examples may change within a version, the rules may not."""
    newest = versions(topic)[-1:]
    if newest and assertions(schema(topic)) == assertions(body):
        return newest[0]
    return sum(newest) + 1
