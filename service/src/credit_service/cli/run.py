"""What the commands share: settings, connections, and faults told in one line."""

import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, TypeVar

from credit_service.cli.faults import Failed, WrongUse

if TYPE_CHECKING:
    from credit_service.application.errors import LedgerUnavailable
    from credit_service.kafka.connect.connection import KafkaConnection
    from credit_service.postgres.pool import Pool
    from credit_service.settings import Settings

T = TypeVar("T")


def settings_or_exit() -> "Settings":
    """The settings; what is missing or wrong ends the command before it connects to anything."""
    from credit_service.settings import SettingsError, load_settings

    try:
        return load_settings()
    except SettingsError as error:
        raise WrongUse(str(error)) from None


def kafka_of(settings: "Settings") -> "KafkaConnection":
    """Where Kafka is, and what the topics are called there."""
    import structlog

    from credit_service.kafka.connect.connection import KafkaConnection

    # As the libraries: only parts that know Kafka have something to say in a command.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    return KafkaConnection.of(settings)


@asynccontextmanager
async def ledger(settings: "Settings") -> "AsyncIterator[Pool]":
    """Connections to a database that has the schema, or the command ends with what is wrong with it."""
    from credit_service.postgres.address import Addresses
    from credit_service.postgres.pool import open_pool

    async with open_pool(Addresses.of(settings).service) as pool:
        await _hold_to_schema(pool)
        yield pool


@asynccontextmanager
async def reads(settings: "Settings") -> "AsyncIterator[Pool]":
    """As `ledger`, for what only looks."""
    from credit_service.postgres.address import Addresses
    from credit_service.postgres.pool import open_pool

    async with open_pool(Addresses.of(settings).reader, is_read_only=True) as pool:
        await _hold_to_schema(pool)
        yield pool


async def _hold_to_schema(pool: "Pool") -> None:
    from credit_service.postgres.schema import schema_problem

    if problem := await schema_problem(pool):
        raise Failed(problem)


def run(work: Coroutine[None, None, T]) -> T:
    """Runs `work` to its end; a server that does not answer is one line."""
    # Ctrl-C may come before it has begun; Python would then say that nobody waited for it.
    with closing(work):
        return _run(work)


def _run(work: Coroutine[None, None, T]) -> T:
    from credit_service.application.errors import SessionsShared
    from credit_service.runtime.loop import run_in_loop

    # The line that ends the command says it; the libraries would say it once more.
    logging.disable()
    try:
        return run_in_loop(work)
    except (Failed, WrongUse):
        raise
    except SessionsShared as error:
        raise WrongUse(str(error)) from None
    except Exception as error:
        if problem := _problem(error):
            raise Failed(problem) from None
        raise


def told_of_ledger(error: "LedgerUnavailable") -> str:
    """What is wrong with the database, as the beginning of a line."""
    from credit_service.application.errors import AccessDenied, NoPassword, ReadOnly, SessionsShared

    match error:
        case ReadOnly() | NoPassword() | SessionsShared():
            return str(error)
        case AccessDenied():
            return f"the database denies access: {error}"
        case _:
            return f"the database does not answer: {error}"


def _problem(error: Exception) -> str | None:
    """What a server that fails did, as one line; None if it was no server's doing.

    Only here are the clients imported, which most commands need one of.
    """
    from aiokafka.errors import KafkaError

    from credit_service.application.errors import LedgerUnavailable, RefusedByLedger
    from credit_service.kafka.connect.errors import RefusedByKafka
    from credit_service.runtime.loop import run_in_loop

    match error:
        case LedgerUnavailable():
            return told_of_ledger(error)
        case RefusedByLedger():
            return f"the database refuses this: SQLSTATE {error.sqlstate}"
        case RefusedByKafka():
            return str(error)
        case KafkaError() | TimeoutError():
            return run_in_loop(_why(error))
        case _:
            return None


async def _why(error: Exception) -> str:
    """What a client of Kafka's met, as one line; where it only says that it could not connect, a look tells more."""
    from credit_service.kafka.access.probe import inspect
    from credit_service.kafka.connect.errors import REFUSALS, BrokerUnavailable, RefusedByKafka, describe

    if isinstance(error, REFUSALS):
        return describe(error)
    if not isinstance(error, BrokerUnavailable):
        try:
            await inspect(kafka_of(settings_or_exit()), [])
        except RefusedByKafka as refused:
            return str(refused)
        except BrokerUnavailable as unavailable:
            error = unavailable
    return f"Kafka does not answer: {describe(error)}"
