import re
from importlib.resources import files

import pytest

from credit_contracts import INCOMING, OUTGOING
from credit_contracts.schemas import generate, rendered, schema


@pytest.mark.parametrize(("topic", "generated"), generate().items())
def test_committed_schema_is_what_the_model_generates(topic: str, generated: dict[str, object]) -> None:
    committed = files("credit_contracts.schemas").joinpath(f"{topic}.json").read_text("utf-8")
    assert committed == rendered(generated), "run python -m credit_contracts.schemas"


def test_every_topic_with_a_model_has_a_schema_and_no_other() -> None:
    committed = {f.name for f in files("credit_contracts.schemas").iterdir() if f.name.endswith(".json")}
    assert committed == {f"{topic}.json" for topic in (*INCOMING, *OUTGOING)}


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
