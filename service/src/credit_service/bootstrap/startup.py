"""The start of the service: it waits until the database, its schema, Kafka and the topics are there."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import structlog
from aiokafka.errors import KafkaError

from credit_service.application.errors import AccessDenied, LedgerUnavailable, SessionsShared
from credit_service.kafka.connect.errors import BrokerUnavailable, RefusedByKafka, describe
from credit_service.kafka.topics import missing_or_uneven
from credit_service.postgres.schema import schema_problem
from credit_service.postgres.session import connect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from credit_service.application.readiness import Status
    from credit_service.kafka.connect.connection import KafkaConnection
    from credit_service.kafka.consume.intake import Intake
    from credit_service.postgres.address import Addresses
    from credit_service.postgres.pool import Pool
    from credit_service.watch.watch import Watch

log = structlog.get_logger(__name__)

RETRY_SECONDS = 1.0


async def until_well(
    part: str, step: Callable[[], Awaitable[str | None]], status: Status, ending: asyncio.Event
) -> bool:
    """Repeats `step` until it reports no problem; each new problem is logged once. False if the service ends first."""
    while not ending.is_set():
        taken = asyncio.ensure_future(step())
        ended = asyncio.create_task(ending.wait())
        await asyncio.wait({taken, ended}, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if not taken.done():
            taken.cancel()
            await asyncio.gather(taken, return_exceptions=True)
            return False
        problem = await taken
        if status.set(part, problem) and problem:
            log.warning("not ready", part=part, problem=problem)
        if problem is None:
            return True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ending.wait(), RETRY_SECONDS)
    return False


async def check_schema(addresses: Addresses, pool: Pool, watch: Watch) -> str | None:
    """Returns what is wrong with the database; sets for the watch, which is not running yet, whether it answers."""
    try:
        problem = await schema_problem(pool)
        await _require_sessions(addresses)
    except SessionsShared:
        raise
    except LedgerUnavailable as error:
        watch.database_answers = False
        return f"the database {'denies access' if isinstance(error, AccessDenied) else 'does not answer'}: {error}"
    watch.database_answers = None
    return problem


async def _require_sessions(addresses: Addresses) -> None:
    """Raises `SessionsShared` if an address of a role shares sessions; other errors show when its part connects."""
    for address in addresses.served:
        if not address.has_sessions:
            try:
                (await connect(address)).terminate()
            except SessionsShared:
                raise
            except LedgerUnavailable:
                pass


async def check_topics(connection: KafkaConnection) -> str | None:
    """Returns what is wrong with the topics or with Kafka."""
    try:
        return await missing_or_uneven(connection)
    except RefusedByKafka as error:
        return str(error)
    except BrokerUnavailable as error:
        return f"Kafka does not answer: {error}"


async def join_group(intake: Intake) -> str | None:
    """Joins the consumer group; returns what is wrong if it cannot."""
    try:
        await intake.start()
    except (KafkaError, TimeoutError, OSError) as error:
        return f"Kafka: {describe(error)}"
    return None
