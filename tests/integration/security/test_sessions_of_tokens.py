"""Tokens that end while the service runs: it logs in again with the next one, on the open connections."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from credit_service.kafka.connect.acls import required_acls
from support.patience import patience
from support.secured import SERVICE, SERVICE_PASSWORD, SecuredBroker
from support.secured_service import connection_of, generated, plan, published, secured_deployment
from support.tokens_of_kafka import Endpoint, giving_tokens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.service import Deployment

TOKENS_MIN = 5

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("secured-kafka"),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(600),
]


@pytest_asyncio.fixture(loop_scope="module")
async def secured(
    database_url: str, secured_broker: SecuredBroker, topic_prefix: str, tmp_path: Path
) -> AsyncIterator[Deployment]:
    async with secured_deployment(database_url, secured_broker, topic_prefix, tmp_path) as deployment:
        connection = connection_of(secured_broker, deployment, SERVICE, SERVICE_PASSWORD)
        await secured_broker.allow(SERVICE, required_acls(connection, "serve"))
        yield deployment


async def test_tokens_that_end_while_the_service_runs_end_nothing(
    secured: Deployment, secured_broker: SecuredBroker
) -> None:
    # A session ends with its token. One is opened by a token of up to 80 % of what is told of its life: told half, a
    # session has more than half of the token's life before it.
    token_seconds = patience(20)
    endpoint = Endpoint(
        secured_broker.files.signer,
        "client",
        "secret",
        SERVICE,
        seconds=token_seconds,
        told_seconds=token_seconds / 2,
    )
    with giving_tokens(endpoint):
        secured.settings = secured_broker.token_settings(**endpoint.settings())
        service = await (await secured.start()).ready()
        async with secured.upstream() as upstream:
            await upstream.send([plan()])
            sent = 1
            async with asyncio.timeout(TOKENS_MIN * token_seconds):
                while len(endpoint.given) < TOKENS_MIN:
                    await upstream.send([generated(sent)])
                    sent += 1
                    await published(service, sent)
        assert await service.problems() == {}
        assert await service.terminate() == 0
    bad = [line for line in service.said().splitlines() if '"level": "warning"' in line or '"level": "error"' in line]
    assert bad == []
