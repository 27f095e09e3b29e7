"""The operations of the read API: accounts, entries, decisions. The OpenAPI document is made from them."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import unquote_to_bytes

from pydantic import BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from credit_contracts.ids import AccountId, EventId, EventSource
from credit_service.application.auth.tokens import Scope
from credit_service.application.queries import (
    ENTRIES_LIMIT_MAX,
    AccountSnapshot,
    DecidedEvent,
    EntriesPage,
    ParkedEvent,
    Reads,
)
from credit_service.http.access import Access
from credit_service.http.concurrency import ConcurrentReads
from credit_service.http.routes import get

ENTRIES_LIMIT_DEFAULT = 100
SEQUENCE_MAX = 2**63 - 1 - ENTRIES_LIMIT_MAX


def _plain_digits(given: object) -> object:
    # Python also reads "1_000", " 5" and "5.0".
    if isinstance(given, str) and not re.fullmatch(r"0|[1-9][0-9]{0,18}", given):
        raise ValueError("must be a whole number")
    return given


def _whole_number(least: int, most: int, description: str) -> TypeAdapter[int]:
    # The bounds come first: after a function, pydantic leaves them out of the schema.
    bounds = Field(ge=least, le=most, description=description)
    return TypeAdapter(Annotated[int, bounds, BeforeValidator(_plain_digits)])


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter; it is required if it has no default."""

    name: str
    kind: TypeAdapter[Any]
    default: int | None = None


@dataclass(frozen=True, slots=True)
class ApiOperation:
    """An operation of the read API."""

    name: str
    path: str
    summary: str
    scope: Scope
    parameters: tuple[Parameter, ...]
    answer: Any
    otherwise: str
    ask: Callable[[Reads, str, Mapping[str, Any]], Awaitable[BaseModel | None]]


ACCOUNT_ID: TypeAdapter[str] = TypeAdapter(AccountId)
OPERATIONS = (
    ApiOperation(
        name="readAccount",
        path="/v1/accounts/{account_id}",
        summary="Balance, plan, billing month, open grants, declines in this month.",
        scope=Scope.ACCOUNTS,
        parameters=(),
        answer=AccountSnapshot,
        otherwise="no such account",
        ask=lambda reads, account_id, _: reads.account(account_id),
    ),
    ApiOperation(
        name="readEntries",
        path="/v1/accounts/{account_id}/entries",
        summary="The ledger: every balance change with its cause, page by page.",
        scope=Scope.ENTRIES,
        parameters=(
            Parameter(
                "after", _whole_number(0, SEQUENCE_MAX, "The sequence that the page follows: `next_after`."), default=0
            ),
            Parameter(
                "limit",
                _whole_number(1, ENTRIES_LIMIT_MAX, "Balance changes on the page."),
                default=ENTRIES_LIMIT_DEFAULT,
            ),
        ),
        answer=EntriesPage,
        otherwise="no such account",
        ask=lambda reads, account_id, given: reads.entries(account_id, **given),
    ),
    ApiOperation(
        name="readDecision",
        path="/v1/accounts/{account_id}/decisions",
        summary="What became of one event.",
        scope=Scope.DECISIONS,
        parameters=(Parameter("source", TypeAdapter(EventSource)), Parameter("id", TypeAdapter(EventId))),
        answer=DecidedEvent | ParkedEvent,
        otherwise="no event of this source and id was decided or is parked",
        ask=lambda reads, account_id, given: reads.event(account_id, given["source"], given["id"]),
    ),
)


def account_routes(reads: Reads, access: Access) -> list[Route]:
    """A route for each operation."""
    reading = ConcurrentReads()
    return [
        get(operation.path, _endpoint(operation, reads, access, reading), operation.name) for operation in OPERATIONS
    ]


def _endpoint(
    operation: ApiOperation, reads: Reads, access: Access, reading: ConcurrentReads
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        account_id = _decoded(request.path_params["account_id"])
        access.check(request, operation.scope, account_id)
        if account_id is None:
            raise HTTPException(400, "account_id: not UTF-8")
        account_id = _read(ACCOUNT_ID, account_id, "account_id")
        given = _given(operation, request)
        with reading.one():
            found = await operation.ask(reads, account_id, given)
        if found is None:
            raise HTTPException(404, operation.otherwise)
        return Response(found.model_dump_json(), media_type="application/json")

    return endpoint


def _decoded(sent: str) -> str | None:
    # The router matches the path before it is decoded, so that an id may contain a slash.
    try:
        return unquote_to_bytes(sent).decode()
    except UnicodeDecodeError:
        return None


def _given(operation: ApiOperation, request: Request) -> dict[str, Any]:
    sent = request.query_params
    known = [parameter.name for parameter in operation.parameters]
    if len(sent.multi_items()) > len(sent) or not sent.keys() <= set(known):
        # A misspelt parameter would be ignored, and the answer would be to another question.
        raise HTTPException(
            400, f"query: each of {', '.join(known)} once, and no other" if known else "query: not known"
        )
    given = {}
    for parameter in operation.parameters:
        if parameter.name in sent:
            given[parameter.name] = _read(parameter.kind, sent[parameter.name], parameter.name)
        elif parameter.default is None:
            raise HTTPException(400, f"{parameter.name}: missing")
        else:
            given[parameter.name] = parameter.default
    return given


def _read(adapter: TypeAdapter[Any], given: str, name: str) -> Any:
    try:
        return adapter.validate_python(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise HTTPException(400, f"{name}: {first['msg'].removeprefix('Value error, ')}") from None
