"""Ids are packed into rows and come back as they were, by the service and by the database alike."""

import asyncpg
import pytest

from credit_service.postgres.ids import packed, unpacked

UUID = "0f8fad5b-d9cb-469f-a165-70867728950e"
IDS = {
    "a UUID": (UUID, 16),
    "a UUID in capitals": (UUID.upper(), 36),
    "a UUID in braces": (f"{{{UUID[:-2]}}}", 36),
    "a UUID without hyphens": (UUID.replace("-", ""), 32),
    "a UUID with its hyphens elsewhere": (f"-{UUID.replace('-', '')}---", 36),
    "a UUID with a line's end": (f"{UUID}\n", 37),
    "sixteen characters": ("sixteen-letters!", 17),
    "sixteen bytes": ("zwölf-größen-", 17),
    "one character": ("p", 1),
    "a backslash": (r"\x00", 4),
}


@pytest.mark.parametrize(("text", "size"), IDS.values(), ids=IDS.keys())
async def test_an_id_comes_back_as_it_was(undone: asyncpg.Connection, text: str, size: int) -> None:
    by_database = await undone.fetchval("SELECT credits.packed($1)", text)
    back = await undone.fetchval("SELECT credits.unpacked($1)", packed(text))
    assert len(packed(text)) == size
    assert by_database == packed(text)
    assert back == unpacked(packed(text)) == text
