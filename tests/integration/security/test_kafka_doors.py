"""Logins that Kafka accepts, and the messages for those that it refuses: on a real broker with TLS and logins."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from credit_service.kafka.access import probe as access
from credit_service.kafka.access.probe import inspect
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.connect.errors import BrokerUnavailable, RefusedByKafka
from credit_service.settings import Settings
from support.secured import SERVICE, SERVICE_PASSWORD, SecuredBroker
from support.tokens_of_kafka import Signer, printed, prints
from support.wait import eventually

if TYPE_CHECKING:
    from pathlib import Path

# One loop: aiokafka does not wait for the end of connections that were refused.
pytestmark = [pytest.mark.xdist_group("secured-kafka"), pytest.mark.asyncio(loop_scope="module")]

WRONG_PASSWORD = {"kafka_sasl_password": "hunter3"}
NO_PASSWORD = {"kafka_sasl_username": "", "kafka_sasl_password": ""}


@pytest.fixture(autouse=True)
def _is_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that has just started may take long for its first TLS connection."""
    for name in ("LOOK_SECONDS_MAX", "REQUEST_SECONDS_MAX", "ONE_OF_SEVERAL_SECONDS_MAX"):
        monkeypatch.setattr(access, name, 60)


def connection(broker: SecuredBroker, **settings: str) -> KafkaConnection:
    chosen = {"database_url": "postgresql://nowhere/credits", **broker.settings(), **settings}
    return KafkaConnection.of(Settings.model_validate({name: value for name, value in chosen.items() if value}))


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"])
async def test_a_login_over_tls_is_let_in(secured_broker: SecuredBroker, mechanism: str) -> None:
    await inspect(connection(secured_broker, kafka_sasl_mechanism=mechanism), [])


async def test_a_certificate_is_let_in_without_a_login(secured_broker: SecuredBroker) -> None:
    await inspect(connection(secured_broker, **secured_broker.certificate_settings()), [])


async def test_a_mechanism_that_the_broker_does_not_take_is_told(secured_broker: SecuredBroker) -> None:
    known = connection(secured_broker)
    unknown = replace(known, security=replace(known.security, mechanism="SCRAM-SHA-1"))  # type: ignore[arg-type]
    with pytest.raises(RefusedByKafka, match=r"takes no SCRAM-SHA-1: see CREDITS_KAFKA_SASL_MECHANISM$"):
        await inspect(unknown, [])


async def test_a_token_is_let_in_with_what_is_sent_beside_it(secured_broker: SecuredBroker, tmp_path: Path) -> None:
    command = prints(tmp_path, printed(secured_broker.files.signer.token(SERVICE)))
    how = {"kafka_token_command": command, "kafka_oauth_extensions": "logicalCluster=lkc-1,identityPoolId=pool-1"}
    await inspect(connection(secured_broker, **NO_PASSWORD, **secured_broker.token_settings(**how)), [])


@pytest.mark.parametrize("wrong", ["ended", "for another", "of another's key", "no token"])
async def test_a_token_that_is_refused_is_told_without_it_and_is_not_shown_again(
    wrong: str, secured_broker: SecuredBroker, tmp_path: Path
) -> None:
    signer = secured_broker.files.signer
    token = {
        "ended": signer.token(SERVICE, -60),
        "for another": signer.token(SERVICE, audience="another"),
        "of another's key": Signer().token(SERVICE),
        "no token": "hunter2",
    }[wrong]
    command = prints(tmp_path, printed(token))
    refused = connection(secured_broker, **NO_PASSWORD, **secured_broker.token_settings(kafka_token_command=command))
    at = secured_broker.settings()["kafka_bootstrap_servers"]
    with pytest.raises(
        RefusedByKafka, match=rf"^Kafka at {at} refuses the token of CREDITS_KAFKA_TOKEN_COMMAND: "
    ) as caught:
        await inspect(refused, [])
    assert token not in str(caught.value)
    prints(tmp_path, printed(signer.token(SERVICE)))
    said: set[str] = set()

    async def is_let_in() -> bool:
        try:
            await inspect(refused, [])
        except RefusedByKafka as error:
            said.add(str(error))
            return False
        return True

    await eventually(is_let_in, what="another token")
    assert said == {"no token for Kafka: a broker has refused that of CREDITS_KAFKA_TOKEN_COMMAND"}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (
            WRONG_PASSWORD,
            (
                "Kafka at {at} refuses the login of credit-service by SCRAM-SHA-512: see CREDITS_KAFKA_SASL_USERNAME"
                " and CREDITS_KAFKA_SASL_PASSWORD"
            ),
        ),
        ({"kafka_sasl_username": "nobody"}, "Kafka at {at} refuses the login of nobody by SCRAM-SHA-512: see "),
        (
            WRONG_PASSWORD | {"kafka_sasl_mechanism": "PLAIN"},
            "Kafka at {at} refuses the login of credit-service by PLAIN: see CREDITS_KAFKA_SASL_USERNAME and ",
        ),
        (
            {"kafka_bootstrap_servers": "localhost:{port}"},
            (
                "the certificate of Kafka at localhost:{port} is not for the name localhost: see"
                " CREDITS_KAFKA_BOOTSTRAP_SERVERS"
            ),
        ),
        (
            {"kafka_ssl_cafile": "{other_ca}"},
            "the certificate of Kafka at {at} is not signed by a trusted CA: see CREDITS_KAFKA_SSL_CAFILE",
        ),
        ({"kafka_ssl_cafile": ""}, "the certificate of Kafka at {at} is not signed by a trusted CA: see "),
        (
            {"kafka_bootstrap_servers": "{certificates}", "kafka_sasl_username": "someone"},
            "{certificates} ends the connection: it may speak no TLS there, and CREDITS_KAFKA_SECURITY_PROTOCOL is",
        ),
        (
            {"kafka_security_protocol": "SASL_PLAINTEXT", "kafka_ssl_cafile": ""},
            "{at} ends the connection: it may want TLS or a login, and CREDITS_KAFKA_SECURITY_PROTOCOL is SASL_PLAIN",
        ),
        (
            {
                "kafka_security_protocol": "PLAINTEXT",
                "kafka_ssl_cafile": "",
                "kafka_sasl_username": "",
                "kafka_sasl_password": "",
            },
            "{at} ends the connection: it may want TLS or a login, and CREDITS_KAFKA_SECURITY_PROTOCOL is PLAINTEXT",
        ),
        (
            {"kafka_security_protocol": "SSL", "kafka_sasl_username": "", "kafka_sasl_password": ""},
            "{at} ends the connection: CREDITS_KAFKA_SECURITY_PROTOCOL is SSL, and it may want a login, or the cert",
        ),
        ({"kafka_bootstrap_servers": "127.0.0.1:1"}, "ConnectionRefusedError at 127.0.0.1:1"),
    ],
)
async def test_what_is_wrong_at_the_door_is_one_line_without_a_secret(
    secured_broker: SecuredBroker, wrong: dict[str, str], told: str
) -> None:
    at = secured_broker.settings()["kafka_bootstrap_servers"]
    names = {
        "at": at,
        "port": at.rpartition(":")[2],
        "other_ca": str(secured_broker.files.other_ca),
        "certificates": secured_broker.certificate_settings()["kafka_bootstrap_servers"],
    }
    with pytest.raises(BrokerUnavailable, match=re.escape(told.format(**names))) as caught:
        await inspect(connection(secured_broker, **{key: value.format(**names) for key, value in wrong.items()}), [])
    assert "\n" not in str(caught.value)
    assert SERVICE_PASSWORD not in str(caught.value)


async def test_of_several_brokers_a_refusal_says_more_than_silence(secured_broker: SecuredBroker) -> None:
    at = secured_broker.settings()["kafka_bootstrap_servers"]
    servers = f"127.0.0.1:1,{at}"
    await inspect(connection(secured_broker, kafka_bootstrap_servers=servers), [])
    with pytest.raises(RefusedByKafka, match="refuses the login"):
        await inspect(connection(secured_broker, kafka_bootstrap_servers=servers, **WRONG_PASSWORD), [])
