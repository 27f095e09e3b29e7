"""The names of settings, and of their environment variables."""

from collections.abc import Sequence
from typing import Final

PREFIX: Final = "CREDITS_"
SECRETS_DIR_VARIABLE: Final = f"{PREFIX}SECRETS_DIR"

PROTOCOL, MECHANISM = ("kafka_security_protocol",), ("kafka_sasl_mechanism",)
LOGIN = ("kafka_sasl_username", "kafka_sasl_password")
TOKEN_WAYS = ("kafka_oauth_token_url", "kafka_token_command")
CLIENT = ("kafka_oauth_client_id", "kafka_oauth_client_secret", "kafka_oauth_scope")
OAUTH = (*TOKEN_WAYS, *CLIENT, "kafka_oauth_extensions")
ROLES: Final = ("", "relay_", "read_", "migration_")
"""The prefixes of the database settings of each role."""


def password_files(role: str) -> Sequence[str]:
    """The settings that may name a role's password file; the first that is set counts."""
    return list(dict.fromkeys((f"{role}database_password_file", "database_password_file")))


def variable_of(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


def variables_of(names: Sequence[str]) -> str:
    """The environment variables of several settings, as a list."""
    return ", ".join(map(variable_of, names))
