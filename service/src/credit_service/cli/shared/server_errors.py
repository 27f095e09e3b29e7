"""One line for each error of Postgres or Kafka."""

from typing import TYPE_CHECKING

from credit_service.cli.shared.connections import kafka_of, settings_or_exit

if TYPE_CHECKING:
    from credit_service.application.errors import LedgerUnavailable


def describe_ledger_error(error: "LedgerUnavailable") -> str:
    """Describes what is wrong with the database; callers may add to the line."""
    from credit_service.application.errors import AccessDenied, NoPassword, ReadOnly, SessionsShared

    match error:
        case ReadOnly() | NoPassword() | SessionsShared():
            return str(error)
        case AccessDenied():
            return f"the database denies access: {error}"
        case _:
            return f"the database does not answer: {error}"


def describe_server_error(error: Exception) -> str | None:
    """Describes an error of Postgres or Kafka as one line; None for any other error."""
    from credit_service.application.errors import LedgerUnavailable, RefusedByLedger

    match error:
        case LedgerUnavailable():
            return describe_ledger_error(error)
        case RefusedByLedger():
            return f"the database refuses this: SQLSTATE {error.sqlstate}"
        case _:
            return _describe_kafka_error(error)


def _describe_kafka_error(error: Exception) -> str | None:
    # Kafka's client is imported here only: most commands need the database alone.
    from aiokafka.errors import KafkaError

    from credit_service.kafka.connect.errors import RefusedByKafka
    from credit_service.runtime.loop import run_in_loop

    match error:
        case RefusedByKafka():
            return str(error)
        case KafkaError() | TimeoutError():
            return run_in_loop(_find_cause(error))
        case _:
            return None


async def _find_cause(error: Exception) -> str:
    """Describes the error of a Kafka client; where it says only that it could not connect, a probe finds the cause."""
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
