"""The reasons why Kafka cannot be reached or refuses access, in plain words and without secrets."""

import ssl
from collections.abc import Collection
from typing import Any

from aiokafka import errors

from credit_service.kafka.connect.acls import Acl, named
from credit_service.kafka.connect.connection import KafkaConnection, KafkaSecurity
from credit_service.kafka.connect.token_endpoint import TOKEN_URL
from credit_service.kafka.connect.tokens import NoToken

PROTOCOL = "CREDITS_KAFKA_SECURITY_PROTOCOL"
# OpenSSL's codes of certificates that are not trusted.
EXPIRED, NOT_YET_VALID = 10, 9
HOST_MISMATCH, IP_MISMATCH = 62, 64


class BrokerUnavailable(errors.KafkaError):  # type: ignore[misc]
    """No broker answered, or not in time; the message is the reason."""

    def __str__(self) -> str:
        # Not as aiokafka's own, which begin with their type.
        return RuntimeError.__str__(self)


class RefusedByKafka(BrokerUnavailable):
    """A broker refuses the login, or an operation that is needed; the message is a whole sentence."""


def not_allowed(refused: Collection[Acl]) -> RefusedByKafka:
    """The error to raise where these rights are missing."""
    return RefusedByKafka(f"Kafka does not allow: {named(refused)}; see `credits topics acls`")


def connection_error(error: BaseException, connection: KafkaConnection, host: str, port: int) -> BrokerUnavailable:
    """The reason why there is no connection to the broker at this address."""
    security = connection.security
    where = f"{host}:{port}"
    match error:
        case BrokerUnavailable():
            return error
        case NoToken():
            return RefusedByKafka(str(error))
        case errors.SaslAuthenticationFailed() if security.shows_token:
            return RefusedByKafka(f"Kafka at {where} refuses the token of {_made_by(connection)}")
        case errors.SaslAuthenticationFailed():
            return RefusedByKafka(
                f"Kafka at {where} refuses the login of {connection.login['sasl_plain_username']} by"
                f" {security.mechanism}: see CREDITS_KAFKA_SASL_USERNAME and CREDITS_KAFKA_SASL_PASSWORD"
            )
        case errors.UnsupportedSaslMechanismError():
            return RefusedByKafka(f"Kafka at {where} takes no {security.mechanism}: see CREDITS_KAFKA_SASL_MECHANISM")
        case errors.IllegalSaslStateError():
            return RefusedByKafka(f"Kafka at {where} takes no logins there, and {PROTOCOL} is {security.protocol}")
        case ssl.SSLCertVerificationError():
            return RefusedByKafka(_not_trusted(error, where, host))
        case ssl.SSLError():
            return RefusedByKafka(
                f"Kafka at {where} speaks no TLS that is understood, and {PROTOCOL} is {security.protocol}"
            )
        case TimeoutError():
            return BrokerUnavailable(f"no answer from {where} in time")
        case errors.KafkaConnectionError() | ConnectionResetError() | EOFError():
            # A broker that expects another protocol or login closes the connection without an answer.
            return BrokerUnavailable(f"{where} ends the connection: {_wants(security)}")
        case _:
            return BrokerUnavailable(f"{type(error).__name__} at {where}")


def _not_trusted(error: ssl.SSLCertVerificationError, where: str, host: str) -> str:
    certificate = f"the certificate of Kafka at {where}"
    if error.verify_code in (HOST_MISMATCH, IP_MISMATCH):
        return f"{certificate} is not for the name {host}: see CREDITS_KAFKA_BOOTSTRAP_SERVERS"
    if error.verify_code in (EXPIRED, NOT_YET_VALID):
        return f"{certificate} {'has expired' if error.verify_code == EXPIRED else 'is not valid yet'}"
    return f"{certificate} is not signed by a trusted CA: see CREDITS_KAFKA_SSL_CAFILE"


def _made_by(connection: KafkaConnection) -> str:
    made_by = connection.credentials.tokens.source if connection.credentials.tokens else ""
    if made_by == TOKEN_URL:
        return f"{made_by}: see CREDITS_KAFKA_OAUTH_CLIENT_ID, ..._SCOPE and ..._EXTENSIONS"
    return f"{made_by}: run it by hand to see which, and see CREDITS_KAFKA_OAUTH_EXTENSIONS"


def _wants(security: KafkaSecurity) -> str:
    if security.protocol == "SSL":
        return f"{PROTOCOL} is SSL, and it may want a login, or the certificate of CREDITS_KAFKA_SSL_CERTFILE"
    if security.shows_token:
        return f"it may refuse the token, or speak no TLS there, and {PROTOCOL} is {security.protocol}"
    if security.protocol == "SASL_SSL":
        return f"it may speak no TLS there, and {PROTOCOL} is SASL_SSL"
    return f"it may want TLS or a login, and {PROTOCOL} is {security.protocol}"


def describe(error: BaseException) -> str:
    """An error of a running client in words, with the topic or group where aiokafka gives it."""
    about = ", ".join(sorted(_names(error)))
    match error:
        case BrokerUnavailable() | NoToken():
            return str(error) or type(error).__name__
        case errors.TopicAuthorizationFailedError():
            return f"Kafka does not allow the request for topic {about}".rstrip()
        case errors.GroupAuthorizationFailedError():
            return f"Kafka does not allow the request for group {about}".rstrip()
        case errors.TransactionalIdAuthorizationFailed():
            return f"Kafka does not allow: write transactional-id {about}".rstrip()
        case errors.ClusterAuthorizationFailedError():
            return "Kafka does not allow this on the cluster"
        case errors.InvalidSessionTimeoutError():
            return "Kafka takes no session of this length: see group.min.session.timeout.ms of the brokers"
        case _:
            return type(error).__name__


REFUSALS = (
    errors.TopicAuthorizationFailedError,
    errors.GroupAuthorizationFailedError,
    errors.TransactionalIdAuthorizationFailed,
    errors.ClusterAuthorizationFailedError,
    errors.SaslAuthenticationFailed,
    NoToken,
    RefusedByKafka,
)


def _names(error: BaseException) -> set[str]:
    """The names in an error of aiokafka's: its argument is a name, several names, or partitions."""
    about: Any = error.args[0] if error.args else ()
    if isinstance(about, str):
        return {about}
    if isinstance(about, tuple) and hasattr(about, "topic"):
        return {str(about.topic)}
    return {str(one) for one in about} if isinstance(about, set | frozenset) else set()
