"""What a deployment may choose, from the environment, from `.env`, and from files of secrets."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from credit_service import bounds
from credit_service.application.tokens import Token, read_tokens
from credit_service.domain.decide import Rules
from credit_service.domain.first_plan import AGE_MONTHS_MAX
from credit_service.domain.refund import LateRefund
from credit_service.programs import held_to_be_a_program
from credit_service.tls import TlsFileError, client_context

S = TypeVar("S", bound=BaseSettings)

PREFIX: Final = "CREDITS_"
SECRETS_DIR_VARIABLE: Final = f"{PREFIX}SECRETS_DIR"
SECRETS_DIR_DEFAULT: Final = Path("/run/secrets")
LATE_REFUND_DAYS_MAX: Final = 3650
FIRST_PLAN_AGE_MONTHS_MAX: Final = 1200


class SettingsError(Exception):
    """A setting is missing or wrong; one line that names the variables and never their values."""


_HOST = r"(?:[^\s:/?#@\[\],]+|\[[0-9A-Fa-f:]+\])"
_HOST_PORT_LIST = re.compile(rf"{_HOST}:\d{{1,5}}(?:,{_HOST}:\d{{1,5}})*")
_URL_HOST = rf"{_HOST}?(?::\d{{1,5}})?"
_POSTGRES_URL = re.compile(rf"postgresql://(?:[^\s/?#@]*@)?{_URL_HOST}(?:,{_URL_HOST})*(?:[/?]\S*)?")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def _postgres_url(url: SecretStr) -> SecretStr:
    # Looked at here, because what reads it later would quote what it cannot read.
    text = url.get_secret_value()
    if not _POSTGRES_URL.fullmatch(text) or _BROKEN_ESCAPE.search(text):
        raise ValueError("must be postgresql://user:password@host:port/database, special characters as %XX")
    return url


def _has_password(url: str) -> bool:
    parts = urlsplit(url)
    return bool(parts.password) or "password" in parse_qs(parts.query)


def _as_the_service(validated: dict[str, Any]) -> SecretStr:
    url: SecretStr = validated["database_url"]
    return url


def _host_port_list(servers: str) -> str:
    if not _HOST_PORT_LIST.fullmatch(servers):
        raise ValueError("must be host:port, several parted by commas")
    return servers


def _late_refund(value: object) -> object:
    if value in ("current-period", "forfeit"):
        return LateRefund(value)
    if isinstance(value, str):
        days = re.fullmatch(r"days:([1-9]\d{0,3})", value)
        if days is None or int(days[1]) > LATE_REFUND_DAYS_MAX:
            raise ValueError(f"must be current-period, forfeit, or days:N with N from 1 to {LATE_REFUND_DAYS_MAX}")
        return LateRefund("days", int(days[1]))
    return value


def _program(command: str | None) -> str | None:
    return command and held_to_be_a_program(command)


PostgresUrl = Annotated[SecretStr, AfterValidator(_postgres_url)]


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _tokens(value: object) -> object:
    return read_tokens(value) if isinstance(value, str) else value


class HttpTokens(BaseSettings):
    """The one setting that is read again while the service runs."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    http_tokens: Annotated[tuple[Token, ...], NoDecode, BeforeValidator(_tokens), Field(repr=False)] = ()


class Settings(HttpTokens):
    """All settings of the service; each is the variable of its name behind `CREDITS_`."""

    database_url: PostgresUrl
    # Each a role of its own, where the deployment has them.
    relay_database_url: PostgresUrl = Field(default_factory=_as_the_service)
    read_database_url: PostgresUrl = Field(default_factory=_as_the_service)
    migration_database_url: PostgresUrl = Field(default_factory=_as_the_service)
    # Read again at each new connection, for those whose URL has no password.
    database_password_file: Path | None = None
    relay_database_password_file: Path | None = None
    read_database_password_file: Path | None = None
    migration_database_password_file: Path | None = None
    database_password_command: Annotated[str | None, AfterValidator(_program), Field(repr=False)] = None
    kafka_bootstrap_servers: Annotated[str, AfterValidator(_host_port_list)]
    kafka_security_protocol: Annotated[
        Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"], BeforeValidator(_upper)
    ] = "PLAINTEXT"
    kafka_sasl_mechanism: Annotated[Literal["SCRAM-SHA-512", "SCRAM-SHA-256"], BeforeValidator(_upper)] = (
        "SCRAM-SHA-512"
    )
    kafka_sasl_username: str | None = None
    kafka_sasl_password: SecretStr | None = None
    kafka_ssl_cafile: Path | None = None
    kafka_ssl_certfile: Path | None = None
    kafka_ssl_keyfile: Path | None = None
    kafka_group_id: Annotated[str, Field(min_length=1, max_length=200)] = "credit-service"
    instance_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,200}$")] = ""
    topic_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,100}$")] = ""
    http_host: str = "127.0.0.1"
    http_port: Annotated[int, Field(ge=0, le=65535, description="0: any free one")] = 8080
    health_host: str = "127.0.0.1"
    health_port: Annotated[int, Field(ge=0, le=65535, description="0: any free one")] = 8081
    batch_records_max: Annotated[int, Field(ge=1, le=20_000, default_factory=lambda: bounds.BATCH_RECORDS_MAX)]
    late_refund: Annotated[LateRefund, NoDecode, BeforeValidator(_late_refund)] = LateRefund()
    first_plan_age_months_max: Annotated[int, Field(ge=1, le=FIRST_PLAN_AGE_MONTHS_MAX)] = AGE_MONTHS_MAX
    parked_hours_max: Annotated[int, Field(ge=1, le=24 * 366)] = 24
    unreadable_in_a_row_max: Annotated[int, Field(ge=1)] = 1_000
    dead_letter_bytes_per_day: Annotated[int, Field(ge=0, default_factory=lambda: bounds.LETTER_BYTES_PER_DAY)]
    otlp_endpoint: Annotated[str, Field(pattern=r"^(https?://[^\s/?#@]+(/[^\s?#]*)?)?$", max_length=500)] = ""
    stuck_seconds_max: Annotated[int, Field(ge=10, le=24 * 3600)] = 600
    shutdown_seconds: Annotated[int, Field(ge=1, le=600)] = 25
    log_format: Annotated[Literal["auto", "json", "console"], BeforeValidator(_lower)] = "auto"
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = "info"
    # For tests of faults only: "name:n" ends the process when that point of an event's way is reached the n-th time.
    kill_at: Annotated[str, Field(pattern=r"^([a-z-]+:[1-9]\d*)?$", repr=False)] = ""

    @property
    def rules(self) -> Rules:
        """What of them the rules of credit ask for."""
        return Rules(late_refund=self.late_refund, first_plan_age_months_max=self.first_plan_age_months_max)

    def database(self, role: str) -> tuple[str, str, tuple[str, Path] | None]:
        """The setting that has a role's URL, that URL, and its file of a password with the setting that names it.

        `role` is what the names of its settings begin with: nothing, `relay_`, `read_`, or `migration_`.
        """
        own = f"{role}database_url"
        secret: SecretStr = getattr(self, own)
        url = secret.get_secret_value()
        named = next((name for name in _password_files(role) if getattr(self, name) is not None), None)
        file = (_variables([named]), getattr(self, named)) if named and not _has_password(url) else None
        return _variables([own if own in self.model_fields_set else "database_url"]), url, file

    @model_validator(mode="after")
    def _each_password_is_said_once(self) -> Self:
        files = [name for role in ROLES for name in _password_files(role)[:1] if getattr(self, name) is not None]
        command = ["database_password_command"] if self.database_password_command else []
        if files and command:
            raise ValueError(f"{_variables([*files, *command])} set, and only one of them can be")
        for role in ROLES:
            variable, url, _ = self.database(role)
            also = [name for name in files if name == _password_files(role)[0]] + command
            if also and _has_password(url):
                raise ValueError(f"{_variables(also)} set, but {variable} has a password of its own")
        return self

    @model_validator(mode="after")
    def _kafka_access_is_whole(self) -> Self:
        protocol = self.kafka_security_protocol
        login = ("kafka_sasl_username", "kafka_sasl_password")
        files = ("kafka_ssl_cafile", "kafka_ssl_certfile", "kafka_ssl_keyfile")
        has_login, uses_tls = protocol.startswith("SASL_"), protocol.endswith("SSL")
        if has_login and (missing := [name for name in login if getattr(self, name) is None]):
            raise ValueError(f"{_variables(missing)} not set, and {_variables(_PROTOCOL)} is {protocol}")
        # Left out by mistake, a protocol would send what has no login, or is not encrypted.
        unused = [
            n for n in (*login, *files) if getattr(self, n) is not None and not (has_login if n in login else uses_tls)
        ]
        if unused:
            raise ValueError(f"{_variables(unused)} set, but {_variables(_PROTOCOL)} is {protocol}")
        if self.kafka_ssl_keyfile and not self.kafka_ssl_certfile:
            raise ValueError(f"{_variables(files[1:2])} not set, but {_variables(files[2:])} is")
        if uses_tls:
            try:
                client_context(self.kafka_ssl_cafile, self.kafka_ssl_certfile, self.kafka_ssl_keyfile)
            except TlsFileError as error:
                raise ValueError(f"{_variables([error.variable])}: {error}") from None
        return self


def load_settings() -> Settings:
    """Reads the settings; raises `SettingsError` if one is missing or wrong."""
    return _load(Settings)


def load_http_tokens() -> tuple[Token, ...]:
    """Reads the tokens alone; raises `SettingsError` if they are wrong."""
    return _load(HttpTokens).http_tokens


def secret_file_of_http_tokens() -> Path | None:
    """The file of secrets that has the tokens, if one has; raises `SettingsError` if the folder cannot be read."""
    folder = _secrets_dir()
    if folder is None:
        return None
    wanted = _variables(("http_tokens",))
    try:
        return next((file for file in folder.iterdir() if file.name.upper() == wanted and file.stat().st_size), None)
    except OSError as error:
        raise SettingsError(f"{SECRETS_DIR_VARIABLE}: cannot be read: {error.strerror}") from None


def _load(kind: type[S]) -> S:
    try:
        # Files of secrets are named like the variables, in either case; a container mounts them at the default.
        return kind(_secrets_dir=_secrets_dir())
    except ValidationError as error:
        # What would only have taken over another setting, which is wrong itself, is not wrong as well.
        wrong = [e for e in error.errors() if e["type"] != "default_factory_not_called"]
        raise SettingsError("; ".join(_told(e["type"], e["loc"], e["msg"]) for e in wrong)) from None
    except (OSError, UnicodeError) as error:
        raise SettingsError(f"settings cannot be read from .env or a file of secrets: {type(error).__name__}") from None


def _secrets_dir() -> Path | None:
    named = os.environ.get(SECRETS_DIR_VARIABLE)
    if not named:
        return SECRETS_DIR_DEFAULT if SECRETS_DIR_DEFAULT.is_dir() else None
    if not Path(named).is_dir():
        raise SettingsError(f"{SECRETS_DIR_VARIABLE}: is not a folder")
    return Path(named)


_PROTOCOL = ("kafka_security_protocol",)
ROLES: Final = ("", "relay_", "read_", "migration_")
"""What the names of a role's settings of the database begin with."""


def _password_files(role: str) -> Sequence[str]:
    """The first that is set counts."""
    return list(dict.fromkeys((f"{role}database_password_file", "database_password_file")))


def _variables(names: Sequence[str]) -> str:
    return ", ".join(PREFIX + name.upper() for name in names)


def _told(kind: str, where: tuple[int | str, ...], message: str) -> str:
    if not where:  # of several settings together, which the message names
        return message.removeprefix("Value error, ")
    variable = f"{PREFIX}{str(where[0]).upper()}"
    if kind == "missing":
        return f"{variable} is not set"
    return f"{variable}: {message.removeprefix('Value error, ')}"
