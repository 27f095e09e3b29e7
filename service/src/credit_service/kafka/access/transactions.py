"""Finds brokers without transactions, in which the service publishes: some servers of Kafka's protocol have none."""

from collections.abc import Container

from aiokafka import errors
from aiokafka.protocol.transaction import (
    AddOffsetsToTxnRequest,
    EndTxnRequest,
    InitProducerIdRequest,
    TxnOffsetCommitRequest,
)

from credit_service.kafka.connect.errors import RefusedByKafka

NEEDED = (InitProducerIdRequest, AddOffsetsToTxnRequest, EndTxnRequest, TxnOffsetCommitRequest)

SOON = (errors.UnknownError, errors.BrokerNotAvailableError)
"""Errors, beside the retriable ones, after which a transaction coordinator may be available soon."""

REFUSED_FOR_GOOD = (
    errors.IncompatibleBrokerVersion,
    errors.InvalidRequestError,
    errors.InvalidTransactionTimeout,
    errors.UnsupportedForMessageFormatError,
    errors.UnsupportedVersionError,
)
"""Errors of a broker that offers no transactional producer."""


def unknown_to(versions: Container[int], where: str) -> str | None:
    """A line with the transaction requests that the broker does not know; None if it knows all that are needed."""
    unknown = [request.__name__.removesuffix("Request") for request in NEEDED if request.API_KEY not in versions]
    return f"{_none_at(where)}: it does not know {', '.join(unknown)}" if unknown else None


def is_passing(error: type[errors.KafkaError]) -> bool:
    """Whether a transaction coordinator may be found later, after this error."""
    return bool(error.retriable) or issubclass(error, SOON)


def not_coordinated(error: type[BaseException], where: str) -> str:
    """The line for a broker that names no transaction coordinator."""
    return f"{_none_at(where)}: the request for their coordinator fails with {error.__name__}"


def no_producer(error: BaseException) -> RefusedByKafka | None:
    """The error to raise if a transactional producer is refused for good; None for any other error."""
    match error:
        case errors.InvalidTransactionTimeout():
            return RefusedByKafka(
                "Kafka's transaction.max.timeout.ms is shorter than the transactions of the service may be"
            )
        case _ if isinstance(error, REFUSED_FOR_GOOD):
            name = type(error).__name__
            return RefusedByKafka(f"{_none_at('Kafka')}: the request for a producer fails with {name}")
        case _:
            return None


def _none_at(where: str) -> str:
    return f"{where} has no transactions, in which this service publishes"
