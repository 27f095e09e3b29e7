from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from credit_service.domain.refund import LateRefund
from credit_service.settings import Settings, SettingsError, load_settings

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
        ("KAFKA_BOOTSTRAP_SERVERS", "hunter2"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka:9092, hunter2:9092"),
        ("KAFKA_BOOTSTRAP_SERVERS", "PLAINTEXT://hunter2:9092"),
        ("TOPIC_PREFIX", "hunter2/"),
        ("HTTP_PORT", "hunter2"),
        ("HTTP_PORT", "65536"),
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
