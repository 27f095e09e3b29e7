"""A broker with TLS, logins and access lists, and those who may change them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from credit_local_stack import KafkaSecurity, Stack

if TYPE_CHECKING:
    from pathlib import Path

ADMIN, ADMIN_PASSWORD = "admin", "admin-secret"
SERVICE, SERVICE_PASSWORD = "credit-service", "service-hunter2"
OPS, OPS_PASSWORD = "ops", "ops-secret"
CLIENT_NAME = "certified"


@dataclass(frozen=True)
class Files:
    """PEM files: who signs, an other who does, and a client that shows itself by a certificate."""

    ca: Path
    other_ca: Path
    keystore: Path
    client_certificate: Path
    client_key: Path


def make_files(folder: Path) -> Files:
    """The broker's certificate is for 127.0.0.1 only: by the name `localhost`, it is another's."""
    files = Files(*(folder / f"{name}.pem" for name in ("ca", "other-ca", "broker", "client", "client-key")))
    authority = trustme.CA()
    authority.cert_pem.write_to_path(files.ca)
    trustme.CA().cert_pem.write_to_path(files.other_ca)
    broker = authority.issue_cert("127.0.0.1")
    # Kafka reads keys in PKCS 8 only.
    key = load_pem_private_key(broker.private_key_pem.bytes(), None)
    files.keystore.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    for certificate in broker.cert_chain_pems:
        certificate.write_to_path(files.keystore, append=True)
    client = authority.issue_cert(f"{CLIENT_NAME}.invalid", common_name=CLIENT_NAME)
    client.private_key_pem.write_to_path(files.client_key)
    for certificate in client.cert_chain_pems:
        certificate.write_to_path(files.client_certificate, append=True)
    return files


def secured_stack(files: Files) -> Stack:
    """Kafka alone, as small as it goes."""
    users = {ADMIN: ADMIN_PASSWORD, SERVICE: SERVICE_PASSWORD, OPS: OPS_PASSWORD}
    security = KafkaSecurity(str(files.keystore), str(files.ca), ADMIN, users)
    return Stack(kafka_heap_mib=256, kafka_security=security, with_postgres=False)


@dataclass
class SecuredBroker:
    """The broker, and what the settings of those who reach it are."""

    stack: Stack
    files: Files

    def settings(self, user: str = SERVICE, password: str = SERVICE_PASSWORD) -> dict[str, str]:
        """Named as behind `CREDITS_`, in small letters."""
        return {
            "kafka_bootstrap_servers": self.stack.bootstrap_servers,
            "kafka_security_protocol": "SASL_SSL",
            "kafka_sasl_username": user,
            "kafka_sasl_password": password,
            "kafka_ssl_cafile": str(self.files.ca),
        }

    def certificate_settings(self) -> dict[str, str]:
        """For a client that shows a certificate in place of a login."""
        return {
            "kafka_bootstrap_servers": f"127.0.0.1:{self.stack.kafka_certificates_port}",
            "kafka_security_protocol": "SSL",
            "kafka_sasl_username": "",
            "kafka_sasl_password": "",
            "kafka_ssl_certfile": str(self.files.client_certificate),
            "kafka_ssl_keyfile": str(self.files.client_key),
        }
