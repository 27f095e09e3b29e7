"""A broker with TLS, logins and access lists, and the changes to these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trustme
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest
from confluent_kafka.admin import (
    AdminClient,
)
from confluent_kafka.admin._scram import (
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from credit_local_stack import KafkaSecurity, Stack
from credit_service.kafka.access.probe import BITS
from support.patience import patience
from support.stack import in_memory
from support.tokens_of_kafka import Signer, the_signer
from support.topics import admin

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from credit_service.kafka.connect.acls import Acl

KINDS = {"topic": 2, "group": 3, "transactional-id": 5}
LITERAL, ALLOW = 3, 3

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
    jwks: Path
    signer: Signer


def make_files(folder: Path) -> Files:
    """The broker's certificate is for 127.0.0.1 only: by the name `localhost`, it is another's."""
    files = Files(
        ca=folder / "ca.pem",
        other_ca=folder / "other-ca.pem",
        keystore=folder / "broker.pem",
        client_certificate=folder / "client.pem",
        client_key=folder / "client-key.pem",
        jwks=folder / "jwks.json",
        signer=the_signer(),
    )
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
    files.jwks.write_text(files.signer.jwks())
    return files


def secured_stack(files: Files, **settings: str) -> Stack:
    """Kafka alone, as small as it goes; settings of the broker's with `_` in place of a dot."""
    users = {ADMIN: ADMIN_PASSWORD, SERVICE: SERVICE_PASSWORD, OPS: OPS_PASSWORD}
    security = KafkaSecurity(str(files.keystore), str(files.ca), ADMIN, users, jwks=str(files.jwks))
    chosen = {name.replace("_", "."): value for name, value in settings.items()}
    return Stack(
        scratch=in_memory(), kafka_heap_mib=256, kafka_security=security, kafka_settings=chosen, with_postgres=False
    )


@dataclass
class SecuredBroker:
    """The broker, and what the settings of those who reach it are."""

    stack: Stack
    files: Files

    def token_settings(self, **how: str) -> dict[str, str]:
        """For a client that shows a token; `how` says where it comes from."""
        settings = {n: v for n, v in self.settings().items() if not n.startswith("kafka_sasl")}
        return settings | {"kafka_sasl_mechanism": "OAUTHBEARER", **how}

    def settings(self, user: str = SERVICE, password: str = SERVICE_PASSWORD) -> dict[str, str]:
        """Named as behind `CREDITS_`, in small letters."""
        return {
            "kafka_bootstrap_servers": self.stack.bootstrap_servers,
            "kafka_security_protocol": "SASL_SSL",
            "kafka_sasl_username": user,
            "kafka_sasl_password": password,
            "kafka_ssl_cafile": str(self.files.ca),
        }

    @property
    def for_anything(self) -> str:
        """The address at which everybody may do anything, without a login."""
        return f"127.0.0.1:{self.stack.kafka_internal_port}"

    async def allow(self, user: str, rights: Iterable[Acl]) -> None:
        """Adds to what the user may do."""
        await self._change(user, rights, CreateAclsRequest)

    async def refuse(self, user: str, rights: Iterable[Acl]) -> None:
        """Takes that back."""
        await self._change(user, rights, DeleteAclsRequest)

    async def _change(self, user: str, rights: Iterable[Acl], request: Any) -> None:
        async with admin(self.for_anything) as client:
            for kind, name, operation in rights:
                chosen = (KINDS[kind], name, LITERAL, f"User:{user}", "*", BITS[operation], ALLOW)
                answer = await client._send_to_controller(request(*chosen))
                assert "error_code=0" in str(answer), answer

    def set_password(self, user: str, password: str | None) -> None:
        """None: nobody can log in as this user any more. Connections that are there stay."""
        client = AdminClient({"bootstrap.servers": self.for_anything})
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        change = (
            UserScramCredentialDeletion(user, ScramMechanism.SCRAM_SHA_512)
            if password is None
            else UserScramCredentialUpsertion(user, info, password.encode())
        )
        for done in client.alter_user_scram_credentials([change]).values():
            done.result(patience(10))

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
