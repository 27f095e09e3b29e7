"""The settings, Kafka and the database, as commands open them."""

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from credit_service.cli.shared.errors import CommandFailed, WrongUse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

    from credit_service.bootstrap.ledger import OpenedLedger
    from credit_service.kafka.connect.connection import KafkaConnection
    from credit_service.postgres.pool import Pool
    from credit_service.settings import Settings


def settings_or_exit() -> "Settings":
    """Reads the settings; one that is missing or wrong ends the command before it connects to a server."""
    from credit_service.settings import SettingsError, load_settings

    try:
        return load_settings()
    except SettingsError as error:
        raise WrongUse(str(error)) from None


def kafka_of(settings: "Settings") -> "KafkaConnection":
    """How to reach Kafka, and the names of its topics in this deployment."""
    import structlog

    from credit_service.kafka.connect.connection import KafkaConnection

    # In a command only the parts that know Kafka log anything; the command itself reports what fails.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    return KafkaConnection.of(settings)


@asynccontextmanager
async def writing_pool(settings: "Settings") -> "AsyncIterator[Pool]":
    """Connections that may write; raises `CommandFailed` if the database's schema is not the service's."""
    from credit_service.postgres.address import Addresses
    from credit_service.postgres.pool import open_pool

    async with open_pool(Addresses.of(settings).service) as pool:
        await _require_schema(pool)
        yield pool


@asynccontextmanager
async def reading_pool(settings: "Settings") -> "AsyncIterator[Pool]":
    """Connections that only read; raises `CommandFailed` if the database's schema is not the service's."""
    from credit_service.postgres.address import Addresses
    from credit_service.postgres.pool import open_pool

    async with open_pool(Addresses.of(settings).reader, is_read_only=True) as pool:
        await _require_schema(pool)
        yield pool


@asynccontextmanager
async def long_reading_connection(settings: "Settings") -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    """A connection that only reads, for long statements; raises `CommandFailed` if the schema is not the service's.

    An error that the caller raises passes unchanged: a closed pipe is no fault of the database.
    """
    from credit_service.postgres.address import Addresses
    from credit_service.postgres.reads.export import long_reads
    from credit_service.postgres.schema import schema_problem

    async with long_reads(Addresses.of(settings).reader) as connection:
        if problem := await schema_problem(connection):
            raise CommandFailed(problem)
        yield connection


@asynccontextmanager
async def opened_ledger(settings: "Settings") -> "AsyncIterator[OpenedLedger]":
    """The ledger and what commands use beside it; raises `CommandFailed` if the schema is not the service's."""
    from credit_service.bootstrap.ledger import open_ledger

    async with writing_pool(settings) as pool:
        yield open_ledger(settings, pool)


async def _require_schema(pool: "Pool") -> None:
    from credit_service.postgres.schema import schema_problem

    if problem := await schema_problem(pool):
        raise CommandFailed(problem)
