"""Secrets and certificates of Kafka that change while the service runs: what `KafkaConnection.login` gives then."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, Any

import pytest
import structlog
import trustme

from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.kafka.connect.tokens import Tokens
from credit_service.settings import load_settings, secret_file_of
from support.secured import make_files
from support.tokens_of_kafka import Endpoint, giving_tokens, the_signer

if TYPE_CHECKING:
    from pathlib import Path

OLD, NEW = "hunter2", "hunter3"


@pytest.fixture(autouse=True)
def secrets_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of secrets, and an environment that names it."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("CREDITS_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "secrets"
    folder.mkdir()
    for name, value in {
        "DATABASE_URL": "postgresql://credits@db/credits",
        "KAFKA_BOOTSTRAP_SERVERS": "kafka:9092",
        "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "SECRETS_DIR": str(folder),
    }.items():
        monkeypatch.setenv(f"CREDITS_{name}", value)
    return folder


def held(folder: Path, **secrets: str) -> None:
    for name, value in secrets.items():
        (folder / f"credits_{name}").write_text(value)


def login_of(connection: KafkaConnection) -> tuple[Any, Any]:
    login = connection.login
    return login["sasl_plain_username"], login["sasl_plain_password"]


def test_a_password_that_was_replaced_in_its_file_is_in_the_next_login(secrets_dir: Path) -> None:
    held(secrets_dir, kafka_sasl_username="key-1", kafka_sasl_password=f"{OLD}\n")
    connection = KafkaConnection.of(load_settings())
    assert login_of(connection) == ("key-1", OLD)
    with structlog.testing.capture_logs() as said:
        held(secrets_dir, kafka_sasl_username="key-2\n", kafka_sasl_password=f"  {NEW}\n")
        assert login_of(connection) == ("key-2", NEW)
        assert login_of(connection) == ("key-2", NEW)
    assert [(line["event"], line["setting"]) for line in said] == [
        ("a secret has changed", "CREDITS_KAFKA_SASL_USERNAME"),
        ("a secret has changed", "CREDITS_KAFKA_SASL_PASSWORD"),
    ]
    assert not any(secret in str(said) + repr(connection) for secret in (OLD, NEW))


def test_a_volume_of_kubernetes_is_followed_through_its_links(secrets_dir: Path) -> None:
    """Changes all files at once: `..data` links to another folder then."""
    for number, secret in enumerate((OLD, NEW)):
        (secrets_dir / f"..{number}").mkdir()
        (secrets_dir / f"..{number}" / "credits_kafka_sasl_password").write_text(secret)
    (secrets_dir / "..data").symlink_to("..0")
    (secrets_dir / "credits_kafka_sasl_password").symlink_to("..data/credits_kafka_sasl_password")
    held(secrets_dir, kafka_sasl_username="service")
    connection = KafkaConnection.of(load_settings())
    assert login_of(connection) == ("service", OLD)
    (secrets_dir / "..new").symlink_to("..1")
    (secrets_dir / "..new").replace(secrets_dir / "..data")
    assert login_of(connection) == ("service", NEW)


@pytest.mark.parametrize("wrong", [b"", b" \n", b"\xff\xfe", b"hun\0ter", None])
def test_a_file_that_is_half_written_or_gone_changes_nothing_and_is_told_once(
    wrong: bytes | None, secrets_dir: Path
) -> None:
    held(secrets_dir, kafka_sasl_username="service", kafka_sasl_password=OLD)
    connection = KafkaConnection.of(load_settings())
    file = secrets_dir / "credits_kafka_sasl_password"
    with structlog.testing.capture_logs() as said:
        file.unlink()
        if wrong is not None:
            file.write_bytes(wrong)
        assert [login_of(connection) for _ in range(3)] == [("service", OLD)] * 3
        file.write_text(NEW)
        assert login_of(connection) == ("service", NEW)
    assert [line["event"] for line in said] == [
        "a secret's file cannot be read, the secret stays as it was",
        "a secret has changed",
    ]


@pytest.mark.parametrize("way", ["environment", ".env"])
def test_what_wins_over_the_files_is_not_followed(
    way: str, secrets_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held(secrets_dir, kafka_sasl_username="service", kafka_sasl_password=NEW)
    if way == "environment":
        monkeypatch.setenv("credits_kafka_sasl_password", OLD)
    else:
        (tmp_path / ".env").write_text(f"CREDITS_KAFKA_SASL_PASSWORD={OLD}\n")
    connection = KafkaConnection.of(load_settings())
    held(secrets_dir, kafka_sasl_password=f"{NEW}-again")
    assert login_of(connection) == ("service", OLD)
    assert secret_file_of("kafka_sasl_password") is None
    assert secret_file_of("kafka_sasl_username") == secrets_dir / "credits_kafka_sasl_username"


async def test_a_clients_secret_that_was_replaced_is_what_the_next_token_is_asked_with(secrets_dir: Path) -> None:
    endpoint = Endpoint(the_signer(), "client-1", OLD, "service", seconds=3600)
    with giving_tokens(endpoint):
        held(secrets_dir, **endpoint.settings(), kafka_sasl_mechanism="OAUTHBEARER")
        provider = KafkaConnection.of(load_settings()).login["sasl_oauth_token_provider"]
        assert isinstance(provider, Tokens)
        first = await provider.token()
        endpoint.client_id, endpoint.client_secret = "client-2", NEW
        held(secrets_dir, kafka_oauth_client_id="client-2", kafka_oauth_client_secret=NEW)
        assert await provider.token() == first
        provider._current = None
        assert await provider.token() == endpoint.given[1]


@pytest.fixture
def by_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[KafkaConnection, Path, Path]:
    """A connection with a CA and a client certificate."""
    files = make_files(tmp_path)
    monkeypatch.setenv("CREDITS_KAFKA_SECURITY_PROTOCOL", "SSL")
    monkeypatch.setenv("CREDITS_KAFKA_SSL_CAFILE", str(files.ca))
    monkeypatch.setenv("CREDITS_KAFKA_SSL_CERTFILE", str(files.client_certificate))
    monkeypatch.setenv("CREDITS_KAFKA_SSL_KEYFILE", str(files.client_key))
    return KafkaConnection.of(load_settings()), files.client_certificate, files.client_key


def test_certificates_that_were_replaced_are_in_the_next_login(
    by_certificate: tuple[KafkaConnection, Path, Path], tmp_path: Path
) -> None:
    connection, certificate, key = by_certificate
    first = connection.login["ssl_context"]
    assert connection.login["ssl_context"] is first, "it is made anew only when something has changed"
    other = trustme.CA()
    issued = other.issue_cert("service.invalid")
    with structlog.testing.capture_logs() as said:
        # One file after the other: between them the key is another's.
        issued.cert_chain_pems[0].write_to_path(certificate)
        assert connection.login["ssl_context"] is first
        assert connection.login["ssl_context"] is first
        issued.private_key_pem.write_to_path(key)
        second = connection.login["ssl_context"]
        assert connection.login["ssl_context"] is second
    assert second is not first
    assert [line["event"] for line in said] == ["certificates stay as they were", "certificates have changed"]
    assert "CREDITS_KAFKA_SSL_CERTFILE: holds no certificate in PEM form, or its key" in said[0]["problem"]

    other.cert_pem.write_to_path(tmp_path / "ca.pem")
    third = connection.login["ssl_context"]
    assert third.get_ca_certs() != second.get_ca_certs()
    assert (third.check_hostname, third.verify_mode) == (True, ssl.CERT_REQUIRED)


@pytest.mark.parametrize("half", [b"", b"-----BEGIN CERTIFICATE-----\nMIIB", None])
def test_a_ca_that_is_half_written_or_gone_leaves_the_one_that_was(
    half: bytes | None, by_certificate: tuple[KafkaConnection, Path, Path], tmp_path: Path
) -> None:
    connection, _, _ = by_certificate
    first = connection.login["ssl_context"]
    whole = (tmp_path / "ca.pem").read_bytes()
    (tmp_path / "ca.pem").unlink()
    if half is not None:
        (tmp_path / "ca.pem").write_bytes(half)
    with structlog.testing.capture_logs() as said:
        assert [connection.login["ssl_context"] for _ in range(3)] == [first] * 3
    assert [line["event"] for line in said] == ["certificates stay as they were"]
    assert "CREDITS_KAFKA_SSL_CAFILE: " in said[0]["problem"]
    (tmp_path / "ca.pem").write_bytes(whole)
    assert connection.login["ssl_context"] is not first


def test_without_a_login_there_is_nothing_to_follow() -> None:
    assert KafkaConnection("kafka:9092", "group").login == {"security_protocol": "PLAINTEXT", "ssl_context": None}
