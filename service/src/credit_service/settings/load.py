"""Loads the settings from the environment, from `.env`, and from files of secrets."""

import os
from pathlib import Path
from typing import Final, TypeVar

from dotenv import dotenv_values
from pydantic import ValidationError
from pydantic_settings import BaseSettings

from credit_service.application.auth.tokens import Token
from credit_service.settings.names import PREFIX, SECRETS_DIR_VARIABLE, variable_of
from credit_service.settings.settings import HttpTokens, Settings

S = TypeVar("S", bound=BaseSettings)

SECRETS_DIR_DEFAULT: Final = Path("/run/secrets")


class SettingsError(Exception):
    """A setting is missing or wrong; one line that names the variables and never their values."""


def load_settings() -> Settings:
    """Reads the settings; raises `SettingsError` if one is missing or wrong."""
    return _load(Settings)


def load_http_tokens() -> tuple[Token, ...]:
    """Reads the tokens alone; raises `SettingsError` if they are wrong."""
    return _load(HttpTokens).http_tokens


def secret_file_of_http_tokens() -> Path | None:
    """The file of secrets that has the tokens, if one has; raises `SettingsError` if the folder cannot be read."""
    return _secret_file("http_tokens")


def secret_file_of(name: str) -> Path | None:
    """The file of secrets that this setting is read from; None if it comes from elsewhere, or is not set.

    Raises `SettingsError` if the folder, or `.env`, cannot be read.
    """
    variable = variable_of(name)
    try:
        elsewhere = {**dotenv_values(".env"), **os.environ}
    except (OSError, UnicodeError) as error:
        raise SettingsError(f"settings cannot be read from .env: {type(error).__name__}") from None
    if any(value and key.upper() == variable for key, value in elsewhere.items()):
        return None
    return _secret_file(name)


def _secret_file(name: str) -> Path | None:
    folder = _secrets_dir()
    if folder is None:
        return None
    wanted = variable_of(name)
    try:
        return next((file for file in folder.iterdir() if file.name.upper() == wanted and file.stat().st_size), None)
    except OSError as error:
        raise SettingsError(f"{SECRETS_DIR_VARIABLE}: cannot be read: {error.strerror}") from None


def _load(kind: type[S]) -> S:
    try:
        # Files of secrets have the names of the variables, in capitals or not; containers mount them at the default.
        return kind(_secrets_dir=_secrets_dir())
    except ValidationError as error:
        # A setting that takes its default from a wrong setting is not reported as well.
        wrong = [e for e in error.errors() if e["type"] != "default_factory_not_called"]
        raise SettingsError("; ".join(_describe(e["type"], e["loc"], e["msg"]) for e in wrong)) from None
    except (OSError, UnicodeError) as error:
        raise SettingsError(f"settings cannot be read from .env or a file of secrets: {type(error).__name__}") from None


def _secrets_dir() -> Path | None:
    named = os.environ.get(SECRETS_DIR_VARIABLE)
    if not named:
        return SECRETS_DIR_DEFAULT if SECRETS_DIR_DEFAULT.is_dir() else None
    if not Path(named).is_dir():
        raise SettingsError(f"{SECRETS_DIR_VARIABLE}: is not a folder")
    return Path(named)


def _describe(kind: str, where: tuple[int | str, ...], message: str) -> str:
    if not where:  # an error of several settings, which the message names
        return message.removeprefix("Value error, ")
    variable = f"{PREFIX}{str(where[0]).upper()}"
    if kind == "missing":
        return f"{variable} is not set"
    return f"{variable}: {message.removeprefix('Value error, ')}"
