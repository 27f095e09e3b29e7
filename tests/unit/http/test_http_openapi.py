"""The OpenAPI document says what the code does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import jsonschema  # type: ignore[import-untyped]  # it ships no types
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from credit_service.application.auth.tokens import Scope
from credit_service.http.accounts import OPERATIONS, account_routes
from credit_service.http.openapi import PROBLEMS, document, rendered
from credit_service.http.problems import TITLES
from credit_service.http.request_metrics import OTHER, STATUSES

COMMITTED = Path(__file__).parents[3] / "service/openapi.json"
DOCUMENT = document()
GETS = [path["get"] for path in DOCUMENT["paths"].values()]


def test_the_committed_document_is_what_the_code_makes() -> None:
    remedy = "python -m credit_service.http.openapi > service/openapi.json"
    assert COMMITTED.read_text() == rendered(), remedy


def test_it_is_openapi() -> None:
    validate(DOCUMENT, cls=OpenAPIV31SpecValidator)


def test_it_has_every_route_and_no_other() -> None:
    nothing = cast("Any", None)
    assert list(DOCUMENT["paths"]) == [route.path for route in account_routes(nothing, nothing)]


def test_every_operation_says_which_scope_it_needs() -> None:
    assert [get["security"] for get in GETS] == [[{"token": [operation.scope]}] for operation in OPERATIONS]
    assert {operation.scope for operation in OPERATIONS} == set(Scope)


def test_every_operation_tells_of_every_problem() -> None:
    for get in GETS:
        problems = {status: answer["$ref"] for status, answer in get["responses"].items() if status != "200"}
        assert set(problems) == {"400", "401", "403", "404", "413", "414", "431", "500", "503"}
        assert all(resolved(ref)["content"].keys() == {"application/problem+json"} for ref in problems.values())


def test_every_status_that_is_answered_has_a_title_of_the_services_own() -> None:
    assert [str(status) for status in TITLES] == [one for one in STATUSES if one not in ("200", OTHER)]
    assert set(PROBLEMS) < set(TITLES)


def test_every_schema_that_is_named_is_used() -> None:
    text = json.dumps(DOCUMENT)
    for kind, named in DOCUMENT["components"].items():
        if kind != "securitySchemes":
            assert [name for name in named if f'"#/components/{kind}/{name}"' not in text] == []


def test_every_parameter_has_an_example_and_bounds() -> None:
    for parameter in [parameter for get in GETS for parameter in get["parameters"]]:
        assert parameter["description"]
        bounds = ("minimum", "maximum") if parameter["schema"]["type"] == "integer" else ("minLength", "maxLength")
        assert parameter["schema"].keys() >= {*bounds}, parameter["name"]
        jsonschema.validate(parameter["example"], parameter["schema"])


ANSWERS = [
    (f"{get['operationId']} {name}", get["responses"]["200"]["content"]["application/json"]["schema"], example["value"])
    for get in GETS
    for name, example in get["responses"]["200"]["content"]["application/json"]["examples"].items()
]


@pytest.mark.parametrize(
    ("schema", "example"), [answer[1:] for answer in ANSWERS], ids=[answer[0] for answer in ANSWERS]
)
def test_every_example_is_as_its_schema_says(schema: dict[str, Any], example: dict[str, Any]) -> None:
    whole = schema | {"components": DOCUMENT["components"]}
    jsonschema.validate(example, whole)
    for field in example:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({name: value for name, value in example.items() if name != field}, whole)


def resolved(ref: str) -> dict[str, Any]:
    found: Any = DOCUMENT
    for name in ref.removeprefix("#/").split("/"):
        found = found[name]
    return cast("dict[str, Any]", found)
