"""An explained account as one JSON document, written while it is read: it may not fit into memory."""

import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from credit_service.application.explain.model import Elided, ExplainedEntry, Explanation


async def document(explanation: "Explanation") -> AsyncIterator[str]:
    """Yields the document in parts: the summary with the entries of each grant, then the declines and parked events."""
    summary = explanation.summary
    head = json.loads(summary.model_dump_json(exclude={"grants", "grants_elided", "without_grant", "parked"}))
    yield json.dumps(head | {"declined": summary.declined}, separators=(",", ":"), ensure_ascii=False)[:-1]
    yield ',"grants":['
    entry = await anext(explanation.entries, None)
    for number, grant in enumerate(summary.grants):
        yield ("," if number else "") + grant.model_dump_json()[:-1] + ',"entries":['
        is_first = True
        while entry is not None and entry.grant_id == grant.grant_id:
            yield _item(entry, is_first=is_first)
            is_first, entry = False, await anext(explanation.entries, None)
        yield "]}"
    yield '],"without_grant":'
    if summary.without_grant is None:
        yield "null"
    else:
        yield summary.without_grant.model_dump_json()[:-1] + ',"entries":['
        is_first = True
        while entry is not None:
            yield _item(entry, is_first=is_first)
            is_first, entry = False, await anext(explanation.entries, None)
        yield "]}"
    for name, items in (("declines", explanation.declines), ("parked", explanation.parked)):
        yield f',"{name}":['
        is_first = True
        async for item in items:
            yield ("" if is_first else ",") + item.model_dump_json()
            is_first = False
        yield "]"
    yield "}\n"


def _item(entry: "ExplainedEntry | Elided", *, is_first: bool) -> str:
    return ("" if is_first else ",") + entry.model_dump_json()
