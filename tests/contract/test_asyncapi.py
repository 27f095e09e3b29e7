"""The AsyncAPI document: valid by AsyncAPI's own schema, whole, committed as it is made, and true of real messages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator  # type: ignore[import-untyped]

from credit_contracts import DEAD_LETTER_TOPIC, INCOMING, OUTGOING, TOPICS
from credit_contracts.dead_letters import REASONS
from credit_contracts.examples import examples
from credit_contracts.schemas import assertions, schema
from credit_service.asyncapi.document import Deployed, asyncapi, rendered
from credit_service.settings import load_settings
from credit_service.testing import CreditService
from support.in_memory import play
from support.scenarios import BEGINNING, scenarios

ROOT = Path(__file__).parents[2]
DOCUMENT = asyncapi()
MESSAGES: dict[str, dict[str, Any]] = DOCUMENT["components"]["messages"]
OFFICIAL = Draft7Validator(json.loads((Path(__file__).parent / "asyncapi_spec" / "3.0.0.json").read_text("utf-8")))
DEPLOYMENTS = [
    Deployed(),
    Deployed("eu-", "credits-eu", "SSL"),
    Deployed("eu-", "credits-eu", "SASL_SSL", "SCRAM-SHA-512"),
    Deployed("", "credits", "SASL_PLAINTEXT", "SCRAM-SHA-256"),
    Deployed("", "credits", "SASL_SSL", "PLAIN"),
    Deployed("", "credits", "SASL_SSL", "OAUTHBEARER"),
]
DRAFT_7 = set(
    "$ref anyOf oneOf type properties required enum const default description title examples format pattern minLength "
    "maxLength minimum maximum x-schema".split()
)


def resolved(part: Any) -> Any:
    if isinstance(part, list):
        return [resolved(one) for one in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        found: Any = DOCUMENT
        for name in part["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        return resolved(found)
    return {name: resolved(value) for name, value in part.items()}


def problems(message: dict[str, Any], headers: dict[str, Any], payload: Any) -> list[str]:
    """Why it is no such message; nothing if it is."""
    return [
        f"{where}: {error.message}"
        for where, value in (("headers", headers), ("payload", payload))
        for error in Draft7Validator(resolved(message[where])).iter_errors(value)
    ]


def shown() -> Iterator[Any]:
    for name, message in MESSAGES.items():
        for example in message["examples"]:
            yield pytest.param(message, example, id=f"{name}: {example['name']}")


@pytest.mark.parametrize("deployed", DEPLOYMENTS, ids=str)
def test_valid_by_the_schema_of_asyncapi(deployed: Deployed) -> None:
    assert [f"{list(error.path)}: {error.message}" for error in OFFICIAL.iter_errors(asyncapi(deployed))] == []


def test_the_schema_of_asyncapi_refuses_what_is_wrong() -> None:
    broken = deepcopy(DOCUMENT)
    broken["channels"]["balance-changed"]["bindings"]["kafka"]["partitions"] = 0
    assert not OFFICIAL.is_valid(broken)


def test_committed_as_it_is_made() -> None:
    committed = (ROOT / "contracts" / "asyncapi.json").read_text("utf-8")
    assert committed == rendered(DOCUMENT), "run credits asyncapi --default > contracts/asyncapi.json"


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_every_topic_is_there_with_what_holds_for_it(topic: Any) -> None:
    document = asyncapi(Deployed("eu-", "credits-eu"))
    channel = document["channels"][topic.name]
    assert channel["address"] == f"eu-{topic.name}"
    for words in (topic.description, topic.ordering, topic.delivery, topic.compatibility, "murmur2"):
        assert words in channel["description"]
    assert channel["bindings"]["kafka"] == {
        "topic": f"eu-{topic.name}",
        "partitions": topic.partitions,
        "topicConfiguration": {
            "cleanup.policy": ["delete"],
            "retention.ms": topic.retention_ms,
            "max.message.bytes": topic.max_message_bytes,
        },
        "bindingVersion": "0.5.0",
    }
    (operation,) = [o for o in document["operations"].values() if o["channel"]["$ref"].endswith(f"/{topic.name}")]
    assert operation["action"] == ("receive" if topic.direction == "in" else "send")
    group = operation["bindings"]["kafka"].get("groupId")
    assert group == ({"type": "string", "const": "credits-eu"} if topic.direction == "in" else None)
    names = list(channel["messages"])
    assert [m["$ref"].rpartition("/")[2] for m in operation["messages"]] == names
    assert len(names) == (2 if topic.direction == "in" else 1)
    assert all("key" in MESSAGES[name]["bindings"]["kafka"] for name in names)


def test_there_is_no_other_topic() -> None:
    assert list(DOCUMENT["channels"]) == [topic.name for topic in TOPICS] == [*INCOMING, *OUTGOING, DEAD_LETTER_TOPIC]


@pytest.mark.parametrize(("message", "example"), list(shown()))
def test_every_example_is_what_its_message_says(message: dict[str, Any], example: dict[str, Any]) -> None:
    assert problems(message, example["headers"], example["payload"]) == []


def test_every_example_of_the_contracts_is_shown() -> None:
    names = {example["name"] for message in MESSAGES.values() for example in message["examples"]}
    assert {example.name for example in examples()} <= names


def test_what_lacks_something_is_no_such_message() -> None:
    accepted = []
    for name, message in MESSAGES.items():
        example = message["examples"][0]
        for where in ("headers", "payload"):
            for needed in resolved(message[where]).get("required", []):
                without = {part: dict(example[part] or {}) for part in ("headers", "payload")}
                del without[where][needed]
                if not problems(message, without["headers"], without["payload"]):
                    accepted.append(f"{name} without {needed}")
    assert accepted == []


@pytest.mark.parametrize("topic", [*INCOMING, *OUTGOING])
def test_payloads_are_the_schemas_of_the_contracts(topic: str) -> None:
    contract = assertions(schema(topic))
    definitions = contract.pop("$defs", {})
    written = json.loads(json.dumps(contract).replace("#/$defs/", "#/components/schemas/"))
    found = DOCUMENT["components"]["schemas"]
    assert {k: v for k, v in assertions(found[topic]).items() if k != "x-schema"} == written
    assert {name: assertions(found[name]) for name in definitions} == definitions


def test_schemas_keep_to_the_words_of_draft_7() -> None:
    def words(body: Any) -> Iterator[str]:
        for name, value in body.items():
            yield name
            parts = value.values() if name == "properties" else value if name in ("anyOf", "oneOf") else ()
            for part in parts:
                yield from words(part)

    bodies = [*DOCUMENT["components"]["schemas"].values()]
    bodies += [message[where] for message in MESSAGES.values() for where in ("headers", "payload")]
    assert {word for body in bodies for word in words(body)} <= DRAFT_7


def test_what_is_published_is_what_the_document_says() -> None:
    service = CreditService(BEGINNING)
    for scenario in scenarios():
        play(service, scenario)
    by_topic = {channel: next(iter(body["messages"])) for channel, body in DOCUMENT["channels"].items()}
    odd = []
    for message in service.published:
        headers = {name: (value or b"").decode() for name, value in message.headers}
        value = None if message.is_dead_letter else json.loads(message.value or b"null")
        odd += problems(MESSAGES[by_topic[message.topic]], headers, value)
    assert odd == []
    assert {message.topic for message in service.published} == {*OUTGOING, DEAD_LETTER_TOPIC}


def test_every_reason_of_a_dead_letter_is_told() -> None:
    told = MESSAGES["DeadLetter"]["headers"]["properties"]["credit_dead_letter_reason"]["description"]
    assert told.splitlines() == [f"- `{reason}`: {text.meaning}" for reason, text in REASONS.items()]


def test_a_login_is_named_and_nothing_of_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {
        "database_url": "postgresql://nobody:ghost-1@127.0.0.1/credits",
        "kafka_bootstrap_servers": "broker.internal:9093",
        "kafka_security_protocol": "SASL_SSL",
        "kafka_sasl_mechanism": "SCRAM-SHA-256",
        "kafka_sasl_username": "ghost-2",
        "kafka_sasl_password": "ghost-3",
        "topic_prefix": "eu-",
    }
    for name, value in chosen.items():
        monkeypatch.setenv(f"CREDITS_{name.upper()}", value)
    document = asyncapi(Deployed.of(load_settings()))
    told = rendered(document)
    assert not re.search(r"ghost-|broker\.internal", told)
    assert document["channels"]["balance-changed"]["address"] == "eu-balance-changed"
    assert document["servers"]["kafka"]["protocol"] == "kafka-secure"
    assert document["servers"]["kafka"]["security"] == [{"$ref": "#/components/securitySchemes/login"}]
    assert document["components"]["securitySchemes"]["login"]["type"] == "scramSha256"
    assert document["servers"]["kafka"]["host"] == "{brokers}"
