"""The read API: accounts, their entries, and what became of an event."""

from typing import Annotated, Any, TypeVar
from urllib.parse import unquote_to_bytes

from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from credit_contracts.ids import AccountId, EventId, EventSource
from credit_service.application.read import ENTRIES_LIMIT_MAX, Reads

T = TypeVar("T")

ENTRIES_LIMIT_DEFAULT = 100
SEQUENCE_MAX = 2**63 - 1 - ENTRIES_LIMIT_MAX

_account_id: TypeAdapter[str] = TypeAdapter(AccountId)
_source: TypeAdapter[str] = TypeAdapter(EventSource)
_event_id: TypeAdapter[str] = TypeAdapter(EventId)
_after: TypeAdapter[int] = TypeAdapter(Annotated[int, Field(ge=0, le=SEQUENCE_MAX)])
_limit: TypeAdapter[int] = TypeAdapter(Annotated[int, Field(ge=1, le=ENTRIES_LIMIT_MAX)])


def account_routes(reads: Reads) -> list[Route]:
    """`/v1/accounts/{account_id}`, its `/entries`, and `/decisions?source=&id=`."""

    async def account(request: Request) -> Response:
        return _answer(await reads.account(_account(request)), "no such account")

    async def entries(request: Request) -> Response:
        after = _read(_after, request.query_params.get("after", "0"), "after")
        limit = _read(_limit, request.query_params.get("limit", str(ENTRIES_LIMIT_DEFAULT)), "limit")
        return _answer(await reads.entries(_account(request), after=after, limit=limit), "no such account")

    async def decision(request: Request) -> Response:
        source = _read(_source, request.query_params.get("source"), "source")
        event_id = _read(_event_id, request.query_params.get("id"), "id")
        found = await reads.event(_account(request), source, event_id)
        return _answer(found, "no event of this source and id was decided or is parked")

    return [
        Route("/v1/accounts/{account_id}", account),
        Route("/v1/accounts/{account_id}/entries", entries),
        Route("/v1/accounts/{account_id}/decisions", decision),
    ]


def _account(request: Request) -> str:
    # The router matches the path as it was sent, so that an id may have a slash in it.
    try:
        given = unquote_to_bytes(request.path_params["account_id"]).decode()
    except UnicodeDecodeError:
        raise HTTPException(400, "account_id: not UTF-8") from None
    return _read(_account_id, given, "account_id")


def _read(adapter: TypeAdapter[T], given: str | None, name: str) -> T:
    if given is None:
        raise HTTPException(400, f"{name}: missing")
    try:
        return adapter.validate_python(given)
    except ValidationError as error:
        told: dict[str, Any] = dict(error.errors(include_url=False, include_input=False)[0])
        raise HTTPException(400, f"{name}: {told['msg']}") from None


def _answer(found: BaseModel | None, otherwise: str) -> Response:
    if found is None:
        raise HTTPException(404, otherwise)
    return Response(found.model_dump_json(), media_type="application/json")
