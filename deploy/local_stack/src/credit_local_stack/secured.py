"""Kafka with TLS, logins and access lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from credit_local_stack.plan import KafkaSecurity

_MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-512")


def scram_arguments(security: KafkaSecurity | None) -> list[str]:
    """Return what has a new log folder know the users."""
    if security is None:
        return []
    return [
        argument
        for name, password in security.users.items()
        for mechanism in _MECHANISMS
        for argument in ("--add-scram", f"{mechanism}=[name={name},password={password}]")
    ]


def secured(settings: dict[str, str], security: KafkaSecurity, certificates_at: str) -> dict[str, str]:
    """Return the settings with a login by SCRAM over TLS for clients, and a listener that takes certificates.

    The broker talks to itself on loopback without a login, as `ANONYMOUS`.
    """
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    logins = {f"listener.name.client.{m.lower()}.sasl.jaas.config": scram for m in _MECHANISMS}
    return {
        **settings,
        **logins,
        "listeners": f"{settings['listeners']},CERTIFICATES://{certificates_at}",
        "advertised.listeners": f"{settings['advertised.listeners']},CERTIFICATES://{certificates_at}",
        "listener.security.protocol.map": ("CLIENT:SASL_SSL,CERTIFICATES:SSL,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT"),
        "listener.name.client.sasl.enabled.mechanisms": ",".join(_MECHANISMS),
        "listener.name.certificates.ssl.client.auth": "required",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": security.keystore,
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": security.ca,
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:{security.admin};User:ANONYMOUS",
    }
