"""What a deployment may choose, from the environment, from `.env`, and from files of secrets."""

from credit_service.settings.load import (
    SettingsError,
    load_http_tokens,
    load_settings,
    secret_file_of,
    secret_file_of_http_tokens,
)
from credit_service.settings.names import PREFIX, ROLES, SECRETS_DIR_VARIABLE
from credit_service.settings.settings import Settings

__all__ = [
    "PREFIX",
    "ROLES",
    "SECRETS_DIR_VARIABLE",
    "Settings",
    "SettingsError",
    "load_http_tokens",
    "load_settings",
    "secret_file_of",
    "secret_file_of_http_tokens",
]
