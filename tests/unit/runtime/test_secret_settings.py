"""Whatever a setting is given, and from wherever, what is said of it does not repeat it."""

from __future__ import annotations

import json
import logging
import os
from typing import TYPE_CHECKING, get_args

import pytest
from pydantic import SecretStr

from credit_service.application.auth.tokens import Scope, sha256_of
from credit_service.settings import ROLES, Settings, SettingsError, load_settings
from support.canaries import BIRD, email, flown, secret

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECRET = secret("setting")
NEEDED = {"database_url": "postgresql://credits@db/credits", "kafka_bootstrap_servers": "kafka:9092"}
# Nothing of these can be read, wherever they are put.
MALFORMED = (
    SECRET,
    f"postgresql://u:{SECRET}@db:port/credits",
    f"postgresql://u:{SECRET}%@db/credits",
    f"postgresql://u:{SECRET}/more@db/credits",
    # One character that stands for several, of which one parts a URL.
    f"postgresql://u:{SECRET}\N{ACCOUNT OF}@db/credits",
    f"postgresql://u%00:{SECRET}@db/credits",
    f"mysql://u:{SECRET}@db/credits",
    f"user:{SECRET}@kafka:9092",
    f'[{{"name": "{email("name")}", "sha256": "{SECRET}", "scopes": ["{SECRET}"]}}]',
    f'[{{"{SECRET}": "{SECRET}"',
    f"days:{SECRET}",
)
# What takes any text, or nearly, which is then no mistake.
OF_ANY_TEXT = {f"{role}database_password_file" for role in ROLES} | {
    "instance_id",
    "kafka_sasl_username",
    "kafka_oauth_client_id",
    "kafka_oauth_scope",
    "kafka_group_id",
    "http_host",
    "health_host",
    "topic_prefix",
}


def _environment(name: str, value: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    monkeypatch.setenv(f"CREDITS_{name.upper()}", value)


def _env_file(name: str, value: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    (folder / ".env").write_text(f"CREDITS_{name.upper()}='{value}'\nthis is no {SECRET} line\n= {SECRET}\n")


def _secret_file(name: str, value: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "secrets").mkdir(exist_ok=True)
    (folder / "secrets" / f"CREDITS_{name.upper()}").write_text(value)
    monkeypatch.setenv("CREDITS_SECRETS_DIR", str(folder / "secrets"))


WAYS = (_environment, _env_file, _secret_file)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("CREDITS_")]:
        monkeypatch.delenv(name)
    for name, value in NEEDED.items():
        monkeypatch.setenv(f"CREDITS_{name.upper()}", value)
    return tmp_path


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_wrong_value_is_not_repeated(
    name: str,
    way: Callable[[str, str, Path, pytest.MonkeyPatch], None],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    said = []
    if way is not _environment and name in NEEDED:
        monkeypatch.delenv(f"CREDITS_{name.upper()}")
    for value in MALFORMED:
        way(name, value, folder, monkeypatch)
        try:
            load_settings()
        except SettingsError as error:
            said.append(f"{error} {error.__cause__} {'' if error.__suppress_context__ else error.__context__}")
    assert len(said) == len(MALFORMED) or name in OF_ANY_TEXT | _that_may_be_any_secret()
    out, err = capfd.readouterr()
    assert flown({"error": "\n".join(said), "log": caplog.text, "stdout": out, "stderr": err}) == []


def _that_may_be_any_secret() -> set[str]:
    return {name for name, field in Settings.model_fields.items() if SecretStr in get_args(field.annotation)}


def test_settings_that_are_shown_show_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = json.dumps([{"name": "canary", "sha256": sha256_of(SECRET), "scopes": [*Scope]}])
    secrets = {
        **{
            name: f"postgresql://u:{SECRET}@db/credits"
            for name in Settings.model_fields
            if name.endswith("database_url")
        },
        "kafka_security_protocol": "SASL_PLAINTEXT",
        "kafka_sasl_username": "service",
        "kafka_sasl_password": SECRET,
        "http_tokens": kept,
    }
    for name, value in secrets.items():
        monkeypatch.setenv(f"CREDITS_{name.upper()}", value)

    settings = load_settings()

    monkeypatch.setenv("CREDITS_KAFKA_SASL_MECHANISM", "OAUTHBEARER")
    monkeypatch.setenv("CREDITS_KAFKA_OAUTH_TOKEN_URL", "https://login.example/token")
    monkeypatch.setenv("CREDITS_KAFKA_OAUTH_CLIENT_ID", "service")
    monkeypatch.setenv("CREDITS_KAFKA_OAUTH_CLIENT_SECRET", SECRET)
    for name in ("USERNAME", "PASSWORD"):
        monkeypatch.delenv(f"CREDITS_KAFKA_SASL_{name}")
    by_token = load_settings()

    assert by_token.kafka_oauth_client_secret is not None
    assert flown({"settings": f"{by_token} {by_token!r} {by_token.model_dump(exclude={'http_tokens'})}"}) == []
    assert settings.database_url.get_secret_value().count(BIRD) == 1
    shown = f"{settings} {settings!r} {settings.model_dump(exclude={'http_tokens'})}"
    assert flown({"settings": shown}) == []
    assert sha256_of(SECRET) not in f"{settings!r} {settings.http_tokens!r}"
