from __future__ import annotations

import json
import os
import shlex
import ssl
import sys
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from pydantic import ValidationError

from credit_service.domain.rules import LateRefund
from credit_service.kafka.connect.connection import KafkaConnection
from credit_service.settings import Settings, SettingsError, load_http_tokens, load_settings
from support.secured import make_files

if TYPE_CHECKING:
    from pathlib import Path

DATABASE_URL = "postgresql://credits:hunter2@db.internal/credits"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder without a `.env`, and an environment with the two required settings only."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("CREDITS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CREDITS_DATABASE_URL", DATABASE_URL)
    monkeypatch.setenv("CREDITS_KAFKA_BOOTSTRAP_SERVERS", "kafka-1:9092,kafka-2:9092")
    return tmp_path


def test_two_settings_are_enough() -> None:
    settings = load_settings()
    assert settings.database_url.get_secret_value() == DATABASE_URL
    assert settings.http_host == "127.0.0.1"
    assert settings.http_port == 8080
    assert (settings.health_host, settings.health_port) == ("127.0.0.1", 8081)
    assert settings.kafka_group_id == "credit-service"
    assert settings.late_refund == LateRefund("current-period")


URLS = ("relay_database_url", "read_database_url", "migration_database_url")


def test_one_database_url_is_enough_for_all_roles(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {getattr(load_settings(), name).get_secret_value() for name in URLS} == {DATABASE_URL}

    other = "postgresql://other:hunter2@db/credits"
    for name in URLS:
        monkeypatch.setenv(f"CREDITS_{name.upper()}", other)
    settings = load_settings()
    assert {getattr(settings, name).get_secret_value() for name in URLS} == {other}
    assert settings.database_url.get_secret_value() == DATABASE_URL


def test_what_is_missing_is_named_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDITS_DATABASE_URL")
    monkeypatch.setenv("CREDITS_KAFKA_BOOTSTRAP_SERVERS", "")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value) == "CREDITS_DATABASE_URL is not set; CREDITS_KAFKA_BOOTSTRAP_SERVERS is not set"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://credits:hunter2@db/credits"),
        ("DATABASE_URL", "postgresql://credits:hunter2%@db/credits"),
        ("DATABASE_URL", "postgresql://credits:hunter2@db:hunter2/credits"),
        ("RELAY_DATABASE_URL", "mysql://credits:hunter2@db/credits"),
        ("READ_DATABASE_URL", "postgresql://credits:hunter2%@db/credits"),
        ("MIGRATION_DATABASE_URL", "postgresql://credits:hunter2@db:hunter2/credits"),
        ("KAFKA_BOOTSTRAP_SERVERS", "hunter2"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka:9092, hunter2:9092"),
        ("KAFKA_BOOTSTRAP_SERVERS", "PLAINTEXT://hunter2:9092"),
        ("KAFKA_SECURITY_PROTOCOL", "hunter2"),
        ("KAFKA_SASL_MECHANISM", "hunter2"),
        ("KAFKA_OAUTH_TOKEN_URL", "http://hunter2.example/token"),
        ("KAFKA_OAUTH_TOKEN_URL", "http://127.0.0.1.hunter2/token"),
        ("KAFKA_OAUTH_TOKEN_URL", "https://ann:hunter2@login.example/token"),
        ("KAFKA_OAUTH_TOKEN_URL", "https://login.example/token#hunter2"),
        ("KAFKA_OAUTH_TOKEN_URL", "https://login.example:hunter2/token"),
        ("KAFKA_OAUTH_TOKEN_URL", "https://login.example/hunter2 token"),
        ("KAFKA_OAUTH_TOKEN_URL", "https:///hunter2"),
        ("KAFKA_OAUTH_CLIENT_ID", "hunter2\x01"),
        ("KAFKA_OAUTH_SCOPE", 'a "hunter2"'),
        ("KAFKA_OAUTH_EXTENSIONS", "hunter2"),
        ("KAFKA_OAUTH_EXTENSIONS", "auth=hunter2"),
        ("KAFKA_OAUTH_EXTENSIONS", "a=hunter2,a=hunter2"),
        ("KAFKA_OAUTH_EXTENSIONS", "a=hunter2\x01auth=b"),
        ("KAFKA_TOKEN_COMMAND", "no-hunter2-program-here"),
        ("KAFKA_TOKEN_COMMAND", "'hunter2"),
        ("TOPIC_PREFIX", "hunter2/"),
        ("HTTP_PORT", "hunter2"),
        ("HTTP_PORT", "65536"),
        ("HTTP_TOKENS", "hunter2"),
        ("HTTP_TOKENS", '{"hunter2": "hunter2"}'),
        ("HTTP_TOKENS", '[{"name": "hunter2", "sha256": "hunter2", "scopes": ["hunter2"]}]'),
        ("BATCH_RECORDS_MAX", "0"),
        ("BATCH_RECORDS_MAX", "20001"),
        ("LATE_REFUND", "hunter2"),
        ("LATE_REFUND", "days:0"),
        ("LATE_REFUND", "days:3651"),
        ("LOG_FORMAT", "hunter2"),
        ("LOG_LEVEL", "hunter2"),
        ("KILL_AT", "hunter2"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_the_variable_and_not_its_value(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"CREDITS_{name}", value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    line = str(caught.value)
    assert line.startswith(f"CREDITS_{name}: ")
    assert "\n" not in line
    assert "hunter2" not in line


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///credits?host=/run/postgresql",
        "postgresql://credits@%2Frun%2Fpostgresql/credits",
        "postgresql://credits:p%40ss@[::1]:5432/credits?sslmode=require",
        "postgresql://credits@db-1:5432,db-2:5432/credits",
        "postgresql://credits:secret@db/credits?sslmode=verify-full&sslrootcert=/etc/credits/ca.pem",
        "postgresql://credits@db/credits?sslmode=verify-full&sslrootcert=%2Fca.pem&sslcert=/c.pem&sslkey=/k.pem",
    ],
)
def test_every_way_to_name_a_database_is_taken(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDITS_DATABASE_URL", url)
    assert load_settings().database_url.get_secret_value() == url


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("current-period", LateRefund("current-period")),
        ("forfeit", LateRefund("forfeit")),
        ("days:30", LateRefund("days", 30)),
    ],
)
def test_late_refunds_are_read_as_the_domain_has_them(
    value: str, rule: LateRefund, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDITS_LATE_REFUND", value)
    assert load_settings().late_refund == rule


def test_a_file_called_env_is_read_and_the_environment_wins(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".env").write_text("CREDITS_HTTP_PORT=1\nCREDITS_TOPIC_PREFIX=eu-\nOTHER=1\n")
    monkeypatch.setenv("CREDITS_HTTP_PORT", "2")
    settings = load_settings()
    assert (settings.http_port, settings.topic_prefix) == (2, "eu-")


def test_secrets_come_from_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDITS_DATABASE_URL")
    (folder / "secrets").mkdir()
    (folder / "secrets" / "CREDITS_DATABASE_URL").write_text(f"{DATABASE_URL}\n")
    monkeypatch.setenv("CREDITS_SECRETS_DIR", str(folder / "secrets"))
    assert load_settings().database_url.get_secret_value() == DATABASE_URL


def test_a_folder_of_secrets_that_is_named_must_be_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDITS_SECRETS_DIR", str(folder / "nowhere"))
    with pytest.raises(SettingsError, match=r"^CREDITS_SECRETS_DIR: "):
        load_settings()


def test_the_database_url_is_never_shown() -> None:
    assert "hunter2" not in repr(load_settings()) + load_settings().model_dump_json()


def test_an_error_of_the_model_itself_shows_no_value_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDITS_HTTP_PORT", "hunter2")
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert "hunter2" not in str(caught.value)


ACCESS = {
    "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "KAFKA_SASL_USERNAME": "credit-service",
    "KAFKA_SASL_PASSWORD": "hunter2",
}


def test_a_login_is_read_and_its_password_is_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ACCESS.items():
        monkeypatch.setenv(f"CREDITS_{name}", value)
    settings = load_settings()
    assert settings.kafka_sasl_mechanism == "SCRAM-SHA-512"
    assert "hunter2" not in repr(settings)
    connection = KafkaConnection.of(settings)
    assert "hunter2" not in repr(connection)
    context = connection.options.pop("ssl_context")
    assert (context.check_hostname, context.verify_mode) == (True, ssl.CERT_REQUIRED)
    assert connection.options == {
        "bootstrap_servers": ["kafka-1:9092", "kafka-2:9092"],
        "security_protocol": "SASL_SSL",
        "ssl_context": connection.credentials.ssl_context,
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "credit-service",
        "sasl_plain_password": "hunter2",
    }


def test_the_password_may_come_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "credits_kafka_sasl_password").write_text("hunter2\n")
    monkeypatch.setenv("CREDITS_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("CREDITS_KAFKA_SECURITY_PROTOCOL", "sasl_plaintext")
    monkeypatch.setenv("CREDITS_KAFKA_SASL_USERNAME", "credit-service")
    assert KafkaConnection.of(load_settings()).credentials.password == ACCESS["KAFKA_SASL_PASSWORD"]


PRINTER = f"{shlex.quote(sys.executable)} -c pass"
BY_TOKEN = {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_MECHANISM": "oauthbearer"}
BY_COMMAND = BY_TOKEN | {"KAFKA_TOKEN_COMMAND": f"{PRINTER} hunter2"}
BY_CLIENT = BY_TOKEN | {
    "KAFKA_OAUTH_TOKEN_URL": "https://login.example/oauth2/token?tenant=1",
    "KAFKA_OAUTH_CLIENT_ID": "credit-service",
    "KAFKA_OAUTH_CLIENT_SECRET": "hunter2",
    "KAFKA_OAUTH_EXTENSIONS": "logicalCluster=lkc-1,identityPoolId=pool-a=b",
}


@pytest.mark.parametrize("access", [BY_COMMAND, BY_CLIENT, BY_CLIENT | {"KAFKA_OAUTH_SCOPE": "api://kafka/.default a"}])
def test_a_login_by_token_is_read_and_nothing_secret_of_it_is_printed(
    access: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in access.items():
        monkeypatch.setenv(f"CREDITS_{name}", value)
    settings = load_settings()
    connection = KafkaConnection.of(settings)
    assert "hunter2" not in repr(settings) + repr(connection)
    login = connection.login
    assert (login["sasl_mechanism"], login.keys() & {"sasl_plain_username", "sasl_plain_password"}) == (
        "OAUTHBEARER",
        set(),
    )
    extensions = {"logicalCluster": "lkc-1", "identityPoolId": "pool-a=b"} if access is not BY_COMMAND else {}
    assert login["sasl_oauth_token_provider"].extensions() == extensions


@pytest.mark.parametrize(
    "url", ["http://localhost:8080/token", "http://127.0.0.9/token", "http://[::1]:1/token", "https://[fe80::1]/token"]
)
def test_without_tls_tokens_come_from_this_machine_alone(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (BY_CLIENT | {"KAFKA_OAUTH_TOKEN_URL": url}).items():
        monkeypatch.setenv(f"CREDITS_{name}", value)
    assert load_settings().kafka_oauth_token_url == url


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"},
            (
                "CREDITS_KAFKA_SASL_USERNAME, CREDITS_KAFKA_SASL_PASSWORD not set, and CREDITS_KAFKA_SECURITY_PROTOCOL"
                " is SASL_SSL"
            ),
        ),
        (
            ACCESS | {"KAFKA_SASL_PASSWORD": ""},
            "CREDITS_KAFKA_SASL_PASSWORD not set, and CREDITS_KAFKA_SECURITY_PROTOCOL is SASL_SSL",
        ),
        (
            ACCESS | {"KAFKA_SECURITY_PROTOCOL": ""},
            (
                "CREDITS_KAFKA_SASL_USERNAME, CREDITS_KAFKA_SASL_PASSWORD set, but CREDITS_KAFKA_SECURITY_PROTOCOL is"
                " PLAINTEXT"
            ),
        ),
        (
            ACCESS | {"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "KAFKA_SSL_CAFILE": "ca.pem"},
            "CREDITS_KAFKA_SSL_CAFILE set, but CREDITS_KAFKA_SECURITY_PROTOCOL is SASL_PLAINTEXT",
        ),
        (
            ACCESS | {"KAFKA_SSL_CAFILE": "hunter2.pem"},
            "CREDITS_KAFKA_SSL_CAFILE: cannot be read: No such file or directory",
        ),
        (
            ACCESS | {"KAFKA_SSL_CAFILE": "empty.pem"},
            "CREDITS_KAFKA_SSL_CAFILE: holds no certificate in PEM form",
        ),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CERTFILE": "client.pem", "KAFKA_SSL_KEYFILE": "hunter2"},
            "CREDITS_KAFKA_SSL_KEYFILE: cannot be read: No such file or directory",
        ),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CERTFILE": "client.pem", "KAFKA_SSL_KEYFILE": "other.pem"},
            (
                "CREDITS_KAFKA_SSL_CERTFILE: holds no certificate in PEM form, or its key is not there, is another's,"
                " or has a pass phrase"
            ),
        ),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CERTFILE": "client.pem", "KAFKA_SSL_KEYFILE": "locked.pem"},
            (
                "CREDITS_KAFKA_SSL_CERTFILE: holds no certificate in PEM form, or its key is not there, is another's,"
                " or has a pass phrase"
            ),
        ),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_KEYFILE": "client-key.pem"},
            "CREDITS_KAFKA_SSL_CERTFILE not set, but CREDITS_KAFKA_SSL_KEYFILE is",
        ),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_MECHANISM": "PLAIN"},
            (
                "CREDITS_KAFKA_SASL_USERNAME, CREDITS_KAFKA_SASL_PASSWORD not set, and CREDITS_KAFKA_SECURITY_PROTOCOL"
                " is SASL_SSL"
            ),
        ),
        (
            BY_TOKEN,
            (
                "CREDITS_KAFKA_OAUTH_TOKEN_URL or CREDITS_KAFKA_TOKEN_COMMAND not set, and CREDITS_KAFKA_SASL_MECHANISM"
                " is OAUTHBEARER"
            ),
        ),
        (
            BY_CLIENT | BY_COMMAND,
            "CREDITS_KAFKA_OAUTH_TOKEN_URL, CREDITS_KAFKA_TOKEN_COMMAND set, and only one of them makes the tokens",
        ),
        (
            BY_CLIENT | {"KAFKA_OAUTH_CLIENT_SECRET": ""},
            "CREDITS_KAFKA_OAUTH_CLIENT_SECRET not set, and CREDITS_KAFKA_OAUTH_TOKEN_URL is",
        ),
        (
            BY_COMMAND | {"KAFKA_OAUTH_CLIENT_SECRET": "hunter2", "KAFKA_OAUTH_SCOPE": "a"},
            (
                "CREDITS_KAFKA_OAUTH_CLIENT_SECRET, CREDITS_KAFKA_OAUTH_SCOPE set, but CREDITS_KAFKA_TOKEN_COMMAND"
                " makes the tokens"
            ),
        ),
        (
            BY_COMMAND | {"KAFKA_SASL_USERNAME": "hunter2"},
            "CREDITS_KAFKA_SASL_USERNAME set, but CREDITS_KAFKA_SASL_MECHANISM is OAUTHBEARER",
        ),
        (
            BY_CLIENT | ACCESS | {"KAFKA_SASL_MECHANISM": ""},
            (
                "CREDITS_KAFKA_OAUTH_TOKEN_URL, CREDITS_KAFKA_OAUTH_CLIENT_ID, CREDITS_KAFKA_OAUTH_CLIENT_SECRET,"
                " CREDITS_KAFKA_OAUTH_EXTENSIONS set, but CREDITS_KAFKA_SASL_MECHANISM is SCRAM-SHA-512"
            ),
        ),
        (
            BY_COMMAND | {"KAFKA_SECURITY_PROTOCOL": "SSL"},
            "CREDITS_KAFKA_TOKEN_COMMAND set, but CREDITS_KAFKA_SECURITY_PROTOCOL is SSL",
        ),
    ],
)
def test_settings_of_kafka_that_do_not_go_together_are_one_line(
    settings: dict[str, str], told: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = make_files(folder)
    files.client_certificate.rename(folder / "client.pem")
    (folder / "other.pem").write_bytes(files.keystore.read_bytes())
    (folder / "empty.pem").write_text("")
    key = load_pem_private_key(files.client_key.read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"hunter2"))
    (folder / "locked.pem").write_bytes(locked)
    for name, value in settings.items():
        monkeypatch.setenv(f"CREDITS_{name}", value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value) == told


# --- tokens


TOKENS = json.dumps([{"name": "dashboard", "sha256": "0" * 64, "scopes": ["accounts:read"]}])


def test_without_tokens_there_are_none() -> None:
    assert (load_settings().http_tokens, load_http_tokens()) == ((), ())


@pytest.mark.parametrize("name", ["CREDITS_HTTP_TOKENS", "credits_http_tokens"])
def test_tokens_come_from_a_file_of_secrets(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / name).write_text(TOKENS + "\n")
    monkeypatch.setenv("CREDITS_SECRETS_DIR", str(folder))
    assert [token.name for token in load_settings().http_tokens] == ["dashboard"]


def test_tokens_are_read_also_where_nothing_else_is_set(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDITS_DATABASE_URL")
    (folder / ".env").write_text(f"CREDITS_HTTP_TOKENS='{TOKENS}'\n")
    assert [token.name for token in load_http_tokens()] == ["dashboard"]
