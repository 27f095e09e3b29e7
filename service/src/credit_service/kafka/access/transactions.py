"""Whether a broker has transactions, in which the service publishes: some that speak Kafka's protocol have none."""

from collections.abc import Container

from aiokafka import errors
from aiokafka.protocol.transaction import (
    AddOffsetsToTxnRequest,
    EndTxnRequest,
    InitProducerIdRequest,
    TxnOffsetCommitRequest,
)

from credit_service.kafka.connect.errors import Refused

NEEDED = (InitProducerIdRequest, AddOffsetsToTxnRequest, EndTxnRequest, TxnOffsetCommitRequest)

SOON = (errors.UnknownError, errors.BrokerNotAvailableError)
"""What is said, beside errors that are to be tried again, where a coordinator of transactions may be there soon."""

REFUSED_FOR_GOOD = (
    errors.IncompatibleBrokerVersion,
    errors.InvalidRequestError,
    errors.InvalidTransactionTimeout,
    errors.UnsupportedForMessageFormatError,
    errors.UnsupportedVersionError,
)
"""What is said to who asks for a transactional producer where none is to be had."""


def unknown_to(versions: Container[int], where: str) -> str | None:
    """What this broker does not know of transactions, in a line; None if it knows all that is needed."""
    unknown = [request.__name__.removesuffix("Request") for request in NEEDED if request.API_KEY not in versions]
    return f"{_none_at(where)}: it does not know {', '.join(unknown)}" if unknown else None


def is_passing(error: type[errors.KafkaError]) -> bool:
    """Whether who asked for the coordinator of transactions, and was told this, may be told another time."""
    return bool(error.retriable) or issubclass(error, SOON)


def not_coordinated(error: type[BaseException], where: str) -> str:
    """The line for a broker that names nobody who looks after transactions."""
    return f"{_none_at(where)}: asked for their coordinator, it says {error.__name__}"


def no_producer(error: BaseException) -> Refused | None:
    """What is to be raised where a transactional producer is refused for good; None for all else."""
    match error:
        case errors.InvalidTransactionTimeout():
            return Refused("Kafka's transaction.max.timeout.ms is shorter than the transactions of the service may be")
        case _ if isinstance(error, REFUSED_FOR_GOOD):
            said = type(error).__name__
            return Refused(f"{_none_at('Kafka')}: asked for a producer, it says {said}")
        case _:
            return None


def _none_at(where: str) -> str:
    return f"{where} has no transactions, in which this service publishes"
