import hashlib
import json
import re
from importlib.resources import files

import jsonschema  # type: ignore[import-untyped]
import pytest

from credit_contracts import INCOMING, OUTGOING
from credit_contracts.examples import examples
from credit_contracts.schemas import assertions, file_name, generate, published, rendered, schema, versions

# What every version that was published demands. A line may come, and none may change or go: others keep to it.
PUBLISHED = {
    "balance-changed.v1.json": "10645aec077b4fc3",
    "credits-purchased.v1.json": "7850832afc18c9c1",
    "email-bounced.v1.json": "1648b7c12958b95e",
    "insufficient-credits.v1.json": "57aac82c7c2e30d9",
    "plan-changed.v1.json": "15de741fd9e29690",
    "prospect-deleted.v1.json": "1873184eadc3d9bb",
    "prospect-exported.v1.json": "1873184eadc3d9bb",
    "prospect-generated.v1.json": "f59a7cbba7cb0b15",
    "prospect-imported.v1.json": "1873184eadc3d9bb",
    "prospect-stage-changed.v1.json": "b5d6a9c936f059e0",
    "prospect-transferred.v1.json": "40952aa1b1f44fb9",
}

EVERY_VERSION = [(topic, version) for topic, numbers in published().items() for version in numbers]


def digest(topic: str, version: int) -> str:
    demanded = json.dumps(assertions(schema(topic, version)), sort_keys=True)
    return hashlib.sha256(demanded.encode()).hexdigest()[:16]


def test_published_versions_are_kept_as_they_were() -> None:
    assert {file_name(*of): digest(*of) for of in EVERY_VERSION} == PUBLISHED


@pytest.mark.parametrize(("topic", "generated"), generate().items())
def test_newest_version_is_what_the_model_generates(topic: str, generated: dict[str, object]) -> None:
    name = file_name(topic, versions(topic)[-1])
    committed = files("credit_contracts.schemas").joinpath(name).read_text("utf-8")
    assert committed == rendered(generated), "run python -m credit_contracts.schemas"


def test_every_topic_with_a_model_has_a_schema_and_no_other() -> None:
    assert published().keys() == {*INCOMING, *OUTGOING}


@pytest.mark.parametrize(("topic", "numbers"), published().items())
def test_versions_are_numbered_from_1_and_say_which_they_are(topic: str, numbers: list[int]) -> None:
    assert numbers == list(range(1, len(numbers) + 1))
    assert [schema(topic, n)["$id"] for n in numbers] == [f"urn:credit-service:{topic}:v{n}" for n in numbers]
    assert schema(topic) == schema(topic, numbers[-1])


@pytest.mark.parametrize(("topic", "version"), EVERY_VERSION)
def test_every_version_is_a_schema_that_its_own_examples_keep_to(topic: str, version: int) -> None:
    validator = jsonschema.Draft202012Validator
    validator.check_schema(schema(topic, version))
    for data in schema(topic, version)["examples"]:
        validator(schema(topic, version)).validate(data)


@pytest.mark.parametrize(("topic", "version"), [of for of in EVERY_VERSION if of[0] in INCOMING])
def test_what_was_sent_by_any_version_is_read_today(topic: str, version: int) -> None:
    for data in schema(topic, version)["examples"]:
        INCOMING[topic].model_validate_json(json.dumps(data))


@pytest.mark.parametrize(("topic", "version"), [of for of in EVERY_VERSION if of[0] in OUTGOING])
def test_what_is_sent_today_is_read_by_any_version(topic: str, version: int) -> None:
    for example in examples(topic):
        jsonschema.Draft202012Validator(schema(topic, version)).validate(example.data)


def test_names_of_fields_are_no_words_about_them() -> None:
    field = {"type": "string", "title": "The title", "description": "…"}
    assert assertions({"title": "A", "properties": {"title": field}}) == {"properties": {"title": {"type": "string"}}}


@pytest.mark.parametrize(
    ("topic", "fields"),
    [
        ("plan-changed", ["account_id", "plan_id", "monthly_credits"]),
        ("email-bounced", ["account_id", "prospect_id"]),
        ("credits-purchased", ["account_id", "purchase_id", "credits"]),
        ("prospect-imported", ["account_id", "prospect_id"]),
        ("prospect-transferred", ["account_id", "prospect_id"]),
        ("prospect-stage-changed", ["account_id", "prospect_id", "stage"]),
        ("prospect-deleted", ["account_id", "prospect_id"]),
    ],
)
def test_producers_must_send_what_the_model_requires(topic: str, fields: list[str]) -> None:
    assert schema(topic)["required"] == fields


@pytest.mark.parametrize("topic", OUTGOING)
def test_consumers_may_rely_on_every_outgoing_field(topic: str) -> None:
    body = schema(topic)
    assert body["required"] == list(body["properties"])


@pytest.mark.parametrize("character", ["\0", "\n", "\x1f", "\x7f", "\x85", "\x9f"])
def test_id_pattern_refuses_control_characters(character: str) -> None:
    pattern = schema("prospect-generated")["properties"]["account_id"]["pattern"]
    assert re.fullmatch(pattern[1:-1], "a b\xa0é") is not None
    assert re.fullmatch(pattern[1:-1], f"a{character}") is None
