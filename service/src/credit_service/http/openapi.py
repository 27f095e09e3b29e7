"""The OpenAPI 3.1 document of the read API; `python -m credit_service.http.openapi` prints it."""

import json
import sys
from functools import cache
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from credit_service.application.queries import AccountSnapshot, DecidedEvent, EntriesPage, ParkedEvent
from credit_service.http.accounts import ACCOUNT_ID, OPERATIONS, ApiOperation
from credit_service.http.examples import ANSWERS, PARAMETERS
from credit_service.http.problems import ProblemResponse
from credit_service.http.routes import get

MODELS = (AccountSnapshot, EntriesPage, DecidedEvent, ParkedEvent)
DESCRIPTION = """\
Reads the ledger of credits. Balances change only by messages from Kafka and by commands of operators.

Each request needs a token: `Authorization: Bearer credits_…`. A token has scopes, for all accounts or for one.
Every answer other than 200 is a problem of RFC 9457.
"""

PROBLEMS: dict[int, tuple[str, str, str | None]] = {
    400: ("A parameter is missing, wrong, given twice, or not known.", "limit: must be a whole number", None),
    401: ("No token, or one that is not known or has expired.", "a valid bearer token is needed", "WWW-Authenticate"),
    403: (
        "The token lacks the scope or the account, whether the account exists or not.",
        "this token does not open this",
        None,
    ),
    404: ("The ledger has no such account or event.", "no such account", None),
    413: ("The request has a body.", "a request has no body here", None),
    414: ("Path and query are too long.", "path and query have more than 8192 bytes", None),
    431: ("The headers are too long.", "the headers have more than 8192 bytes", None),
    500: ("A defect of the service.", "the service failed to answer", None),
    503: (
        "The database does not answer, or there are too many requests at the same time.",
        "the database does not answer",
        "Retry-After",
    ),
}
HEADERS = {
    "Cache-Control": {"description": "Answers must not be cached.", "required": True, "schema": {"const": "no-store"}},
    "WWW-Authenticate": {
        "description": "The scheme to use.",
        "required": True,
        "schema": {"type": "string"},
    },
    "Retry-After": {"description": "Seconds to wait.", "required": True, "schema": {"type": "integer", "minimum": 0}},
}


def document() -> dict[str, Any]:
    """The whole document."""
    _, models = models_json_schema(
        [(model, "serialization") for model in MODELS], ref_template="#/components/schemas/{model}"
    )
    problem = {
        "type": "object",
        "description": "Problem details of RFC 9457; their type is about:blank.",
        "properties": {
            "title": {"type": "string"},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"type": "string"},
        },
        "required": ["title", "status", "detail"],
    }
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Credit service: read API",
            "version": "1",
            "description": DESCRIPTION,
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": {operation.path: {"get": _operation(operation)} for operation in OPERATIONS},
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Made by `credits tokens new`: `credits_` and 43 more characters.",
                }
            },
            "headers": HEADERS,
            "responses": {_name(status): _problem(status) for status in PROBLEMS},
            "schemas": models["$defs"] | {"Problem": problem},
        },
    }


@cache
def rendered() -> str:
    """The document as text."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def openapi_route() -> Route:
    """`/openapi.json`, which needs no token: it reveals nothing about the deployment."""
    text = rendered()

    async def openapi(_: Request) -> Response:
        return Response(text, media_type="application/json")

    return get("/openapi.json", openapi)


def _operation(operation: ApiOperation) -> dict[str, Any]:
    account = {"name": "account_id", "in": "path", "required": True, "example": PARAMETERS["account_id"]} | _schema(
        ACCOUNT_ID
    )
    query = [
        {
            "name": parameter.name,
            "in": "query",
            "required": parameter.default is None,
            "example": PARAMETERS[parameter.name],
        }
        | _schema(parameter.kind, parameter.default)
        for parameter in operation.parameters
    ]
    answers = [{"$ref": f"#/components/schemas/{model.__name__}"} for model in MODELS if _answers(operation, model)]
    return {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": f"Needs a token with the scope `{operation.scope}`.",
        "security": [{"token": [operation.scope.value]}],
        "parameters": [account, *query],
        "responses": {
            "200": {
                "description": operation.summary,
                "headers": _headers("Cache-Control"),
                "content": {
                    "application/json": {
                        "schema": answers[0] if len(answers) == 1 else {"oneOf": answers},
                        "examples": {
                            name: {"value": answer.model_dump(mode="json")}
                            for name, answer in ANSWERS[operation.name].items()
                        },
                    }
                },
            }
        }
        | {str(status): {"$ref": f"#/components/responses/{_name(status)}"} for status in PROBLEMS},
    }


def _answers(operation: ApiOperation, model: type) -> bool:
    return model is operation.answer or model in getattr(operation.answer, "__args__", ())


def _schema(kind: TypeAdapter[Any], default: int | None = None) -> dict[str, Any]:
    schema = kind.json_schema()
    described = {"description": schema.pop("description"), "schema": schema}
    if default is not None:
        schema["default"] = default
    return described


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _name(status: int) -> str:
    return f"Problem{status}"


def _problem(status: int) -> dict[str, Any]:
    meaning, detail, header = PROBLEMS[status]
    return {
        "description": meaning,
        "headers": _headers("Cache-Control", *([header] if header else [])),
        "content": {
            ProblemResponse.media_type: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "example": json.loads(bytes(ProblemResponse(status, detail).body)),
            }
        },
    }


if __name__ == "__main__":
    sys.stdout.write(rendered())
