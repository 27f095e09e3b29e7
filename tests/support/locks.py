"""Detection of sessions that wait for a lock."""

from __future__ import annotations

from typing import Any

_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


async def waiting_for_a_lock(connection: Any) -> int:
    """How many sessions wait for one, of all in the database of this connection; it may be in a transaction."""
    # There Postgres would go on showing what it showed at the first look.
    await connection.execute("SELECT pg_stat_clear_snapshot()")
    waiting: int = await connection.fetchval(_WAITING)
    return waiting
