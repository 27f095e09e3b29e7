"""Connections that come back to the pool."""

from __future__ import annotations

import asyncpg
import pytest

from credit_service.postgres import pool as pool_module
from credit_service.postgres.pool import open_pool


async def last_statement_after_use(database_url: str) -> str:
    """What a session was told last, once its connection is back in the pool."""
    async with open_pool(database_url, 1) as pool:
        for _ in range(2):
            async with pool.acquire() as connection:
                session = await connection.fetchval("SELECT pg_backend_pid()")
        other = await asyncpg.connect(database_url)
        try:
            statement: str = await other.fetchval("SELECT query FROM pg_stat_activity WHERE pid = $1", session)
        finally:
            await other.close()
        return statement


async def test_a_connection_comes_back_without_a_word(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "PLANS_KEPT_SECONDS", 3600.0)

    assert await last_statement_after_use(database_url) == "SELECT pg_backend_pid()"


async def test_plans_are_made_anew_now_and_then(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "PLANS_KEPT_SECONDS", 0.0)

    assert await last_statement_after_use(database_url) == "DISCARD PLANS"
