"""JSON Schemas of the data, one a topic; `python -m credit_contracts.schemas` writes them."""

import json
from importlib.resources import files
from typing import Any, Final

from credit_contracts.examples import examples
from credit_contracts.incoming import INCOMING
from credit_contracts.outgoing import OUTGOING

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def schema(topic: str) -> dict[str, Any]:
    """Return the committed schema of a topic's data."""
    loaded: dict[str, Any] = json.loads(files(__name__).joinpath(f"{topic}.json").read_text("utf-8"))
    return loaded


def generate() -> dict[str, dict[str, Any]]:
    """Return the schemas by topic as the models have them now."""
    incoming = {topic: model.model_json_schema(mode="validation") for topic, model in INCOMING.items()}
    # Consumers may rely on more than producers must send: what goes out has all its fields.
    outgoing = {topic: model.model_json_schema(mode="serialization") for topic, model in OUTGOING.items()}
    return {
        topic: {"$schema": DIALECT, "$id": f"urn:credit-service:{topic}"}
        | body
        | {"examples": [example.data for example in examples(topic)]}
        for topic, body in (incoming | outgoing).items()
    }


def rendered(body: dict[str, Any]) -> str:
    """Return a schema as the text of its file."""
    return json.dumps(body, indent=2, ensure_ascii=False) + "\n"
