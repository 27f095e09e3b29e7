"""Words that must not appear in any output, and the search for them in every encoding."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

BIRD = "kanarienvogel"
_SHOWN_CHARACTERS = 120


def email(where: str) -> str:
    """A person's address; `where` it was put tells by which way it came out."""
    return f"{BIRD}.{where}@example.com"


def secret(where: str) -> str:
    """A password or the like."""
    return f"{BIRD}-{where}"


def _forms() -> list[str]:
    # Base64 has three forms of the same bytes, by what stands before them.
    shifted = [base64.b64encode(b"\0" * n + BIRD.encode()).decode()[4:16] for n in range(3)]
    return [BIRD, BIRD.encode().hex(), *shifted]


_FLOWN = re.compile("|".join(map(re.escape, _forms())), re.IGNORECASE)


def flown(sinks: Mapping[str, str | bytes], but: Collection[str] = ()) -> list[str]:
    """Each place where a canary came out, with what stands around it; `but` names ways that are nobody's fault."""
    found = []
    for name, content in sinks.items():
        text = content.decode(errors="replace") if isinstance(content, bytes) else content
        for match in _FLOWN.finditer(text):
            around = text[max(0, match.start() - _SHOWN_CHARACTERS) : match.end() + _SHOWN_CHARACTERS]
            if not any(way in text[match.start() : match.end() + _SHOWN_CHARACTERS] for way in but):
                found.append(f"{name}: {around!r}")
    return found


async def tables(database_url: str, but: Collection[str] = ()) -> dict[str, str]:
    """All rows of all tables of the service, as text."""
    connection = await asyncpg.connect(database_url)
    try:
        names = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'credits' ORDER BY 1")
        return {
            f"table {name}": "\n".join(
                r["row"] for r in await connection.fetch(f"SELECT t::text AS row FROM credits.{name} t")
            )
            for (name,) in names
            if name not in but
        }
    finally:
        await connection.close()
