"""Kafka with TLS, logins and access lists."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from credit_local_stack.plan import KafkaSecurity

_MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-512")
_MODULES = "org.apache.kafka.common.security"


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


def java_arguments(security: KafkaSecurity | None) -> list[str]:
    """Return what has Java read the keys of tokens, which Kafka does from nowhere unless it is told so."""
    if security is None or security.jwks is None:
        return []
    allowed = "-Dorg.apache.kafka.sasl.oauthbearer.allowed"
    return [f"{allowed}.urls={Path(security.jwks).as_uri()}", f"{allowed}.files={security.jwks}"]


def secured(settings: dict[str, str], security: KafkaSecurity, certificates_at: str) -> dict[str, str]:
    """Return the settings with a login by SCRAM, PLAIN or a token over TLS for clients, and a listener of certificates.

    The broker talks to itself on loopback without a login, as `ANONYMOUS`.
    """
    logins = dict.fromkeys(_MECHANISMS, f"{_MODULES}.scram.ScramLoginModule required;")
    users = " ".join(f'user_{name}="{password}"' for name, password in security.users.items())
    logins["PLAIN"] = f"{_MODULES}.plain.PlainLoginModule required {users};"
    if security.jwks is not None:
        logins["OAUTHBEARER"] = f"{_MODULES}.oauthbearer.OAuthBearerLoginModule required;"
        settings = settings | _tokens(security.jwks, security.audience)
    return {
        **settings,
        **{f"listener.name.client.{m.lower()}.sasl.jaas.config": login for m, login in logins.items()},
        "listeners": f"{settings['listeners']},CERTIFICATES://{certificates_at}",
        "advertised.listeners": f"{settings['advertised.listeners']},CERTIFICATES://{certificates_at}",
        "listener.security.protocol.map": ("CLIENT:SASL_SSL,CERTIFICATES:SSL,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT"),
        "listener.name.client.sasl.enabled.mechanisms": ",".join(logins),
        "listener.name.certificates.ssl.client.auth": "required",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": security.keystore,
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": security.ca,
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:{security.admin};User:ANONYMOUS",
    }


def _tokens(jwks: str, audience: str) -> dict[str, str]:
    handler = f"{_MODULES}.oauthbearer.OAuthBearerValidatorCallbackHandler"
    return {
        "listener.name.client.oauthbearer.sasl.server.callback.handler.class": handler,
        "sasl.oauthbearer.jwks.endpoint.url": Path(jwks).as_uri(),
        "sasl.oauthbearer.expected.audience": audience,
        "sasl.oauthbearer.clock.skew.seconds": "0",
    }
