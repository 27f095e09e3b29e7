"""What a deployment may choose, from the environment, from `.env`, and from files of secrets."""

import os
import re
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar
from urllib.parse import parse_qs, urlsplit

from dotenv import dotenv_values
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from credit_service import bounds
from credit_service.application.auth.tokens import Token, read_tokens
from credit_service.domain.first_plan import AGE_MONTHS_MAX
from credit_service.domain.rules import LateRefund, Rules
from credit_service.runtime.programs import require_program
from credit_service.runtime.tls import TlsFileError, client_context

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
_URL_CHARACTERS = re.compile(r"[!-~]+")
# As RFC 7628 has them; a comma would be read as the end of a value.
_EXTENSION = r"[A-Za-z]+=[!-+\--~]+"
_EXTENSIONS = re.compile(rf"{_EXTENSION}(?:,{_EXTENSION})*")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def _postgres_url(url: SecretStr) -> SecretStr:
    # Looked at here, because what reads it later would quote what it cannot read.
    text = url.get_secret_value()
    if not _POSTGRES_URL.fullmatch(text) or _BROKEN_ESCAPE.search(text) or "%00" in text or not _can_be_split(text):
        raise ValueError("must be postgresql://user:password@host:port/database, special characters as %XX")
    return url


def _can_be_split(url: str) -> bool:
    try:
        urlsplit(url)
    except ValueError:
        return False
    return True


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
    return command and require_program(command)


def _token_url(url: str) -> str:
    """The client's secret is sent there: without TLS no further than this machine."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if not host or not _URL_CHARACTERS.fullmatch(url) or "@" in parts.netloc or parts.fragment:
        raise ValueError("must be https://host/path, without a user and a fragment")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise ValueError("must begin with https://; http:// only for this machine itself")
    return url


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _extensions(text: str) -> str:
    names = [one.partition("=")[0] for one in text.split(",")]
    if not _EXTENSIONS.fullmatch(text) or "auth" in names or len({*names}) < len(names):
        raise ValueError("must be name=value, several parted by commas; names are letters, other than auth")
    return text


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
    kafka_sasl_mechanism: Annotated[
        Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN", "OAUTHBEARER"], BeforeValidator(_upper)
    ] = "SCRAM-SHA-512"
    kafka_sasl_username: str | None = None
    kafka_sasl_password: SecretStr | None = None
    kafka_oauth_token_url: Annotated[str, AfterValidator(_token_url)] | None = None
    kafka_oauth_client_id: Annotated[str, Field(pattern=r"^[ -~]{1,1000}$")] | None = None
    kafka_oauth_client_secret: SecretStr | None = None
    kafka_oauth_scope: Annotated[str, Field(pattern=r"^[!#-\[\]-~]+( [!#-\[\]-~]+)*$", max_length=2000)] | None = None
    kafka_oauth_extensions: Annotated[str, AfterValidator(_extensions), Field(max_length=2000)] | None = None
    kafka_token_command: Annotated[str, AfterValidator(require_program)] | None = Field(default=None, repr=False)
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

    def database(self, role: str) -> tuple[str, str, tuple[str, Path] | str | None]:
        """The setting that has a role's URL, that URL, and what has the password for it where the URL has none.

        That is a file, with the setting that names it, or a command. `role` is what the names of its settings begin
        with: nothing, `relay_`, `read_`, or `migration_`.
        """
        own = f"{role}database_url"
        secret: SecretStr = getattr(self, own)
        url = secret.get_secret_value()
        variable = _variables([own if own in self.model_fields_set else "database_url"])
        if _has_password(url):
            return variable, url, None
        named = next((name for name in _password_files(role) if getattr(self, name) is not None), None)
        return variable, url, (_variables([named]), getattr(self, named)) if named else self.database_password_command

    @model_validator(mode="after")
    def _each_password_is_said_once(self) -> Self:
        for_all = self._set_of("database_password_file", "database_password_command")
        if len(for_all) > 1:
            raise ValueError(f"{_variables(for_all)} set, and only one of them can be")
        used: list[object] = []
        for role in ROLES:
            variable, url, way = self.database(role)
            own = f"{role}database_password_file"
            if own not in for_all and getattr(self, own) is not None and _has_password(url):
                raise ValueError(f"{_variables([own])} set, but {variable} has a password of its own")
            used.append(way[0] if isinstance(way, tuple) else way and _variable("database_password_command"))
        if for_all and _variables(for_all) not in used:
            raise ValueError(f"{_variables(for_all)} set, but each URL has a password, or a file of one, of its own")
        return self

    @model_validator(mode="after")
    def _kafka_access_is_whole(self) -> Self:
        protocol = self.kafka_security_protocol
        files = ("kafka_ssl_cafile", "kafka_ssl_certfile", "kafka_ssl_keyfile")
        uses_tls = protocol.endswith("SSL")
        if protocol.startswith("SASL_"):
            self._hold_login_to_its_mechanism()
            unused = []
        else:
            unused = self._set_of(*_LOGIN, *_OAUTH)
        # Left out by mistake, a protocol would send what has no login, or is not encrypted.
        if unused := [*unused, *([] if uses_tls else self._set_of(*files))]:
            raise ValueError(f"{_variables(unused)} set, but {_variables(_PROTOCOL)} is {protocol}")
        if self.kafka_ssl_keyfile and not self.kafka_ssl_certfile:
            raise ValueError(f"{_variables(files[1:2])} not set, but {_variables(files[2:])} is")
        if uses_tls:
            try:
                client_context(self.kafka_ssl_cafile, self.kafka_ssl_certfile, self.kafka_ssl_keyfile)
            except TlsFileError as error:
                raise ValueError(f"{_variables([error.variable])}: {error}") from None
        return self

    def _hold_login_to_its_mechanism(self) -> None:
        mechanism = f"{_variables(_MECHANISM)} is {self.kafka_sasl_mechanism}"
        if self.kafka_sasl_mechanism == "OAUTHBEARER":
            self._hold_to_one_way_to_tokens(mechanism)
            unused = self._set_of(*_LOGIN)
        else:
            if missing := self._missing(*_LOGIN):
                protocol = f"{_variables(_PROTOCOL)} is {self.kafka_security_protocol}"
                raise ValueError(f"{_variables(missing)} not set, and {protocol}")
            unused = self._set_of(*_OAUTH)
        if unused:
            raise ValueError(f"{_variables(unused)} set, but {mechanism}")

    def _hold_to_one_way_to_tokens(self, mechanism: str) -> None:
        url, command = self.kafka_oauth_token_url, self.kafka_token_command
        if url is None and command is None:
            raise ValueError(f"{' or '.join(map(_variable, _TOKEN_WAYS))} not set, and {mechanism}")
        if url is not None and command is not None:
            raise ValueError(f"{_variables(_TOKEN_WAYS)} set, and only one of them makes the tokens")
        if url is not None and (missing := self._missing("kafka_oauth_client_id", "kafka_oauth_client_secret")):
            raise ValueError(f"{_variables(missing)} not set, and {_variable('kafka_oauth_token_url')} is")
        if command is not None and (of_other_way := self._set_of(*_CLIENT)):
            raise ValueError(f"{_variables(of_other_way)} set, but {_variable('kafka_token_command')} makes the tokens")

    def _missing(self, *names: str) -> list[str]:
        return [name for name in names if getattr(self, name) is None]

    def _set_of(self, *names: str) -> list[str]:
        return [name for name in names if getattr(self, name) is not None]


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
    variable = _variable(name)
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
    wanted = _variable(name)
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


_PROTOCOL, _MECHANISM = ("kafka_security_protocol",), ("kafka_sasl_mechanism",)
_LOGIN = ("kafka_sasl_username", "kafka_sasl_password")
_TOKEN_WAYS = ("kafka_oauth_token_url", "kafka_token_command")
_CLIENT = ("kafka_oauth_client_id", "kafka_oauth_client_secret", "kafka_oauth_scope")
_OAUTH = (*_TOKEN_WAYS, *_CLIENT, "kafka_oauth_extensions")
ROLES: Final = ("", "relay_", "read_", "migration_")
"""What the names of a role's settings of the database begin with."""


def _password_files(role: str) -> Sequence[str]:
    """The first that is set counts."""
    return list(dict.fromkeys((f"{role}database_password_file", "database_password_file")))


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _variables(names: Sequence[str]) -> str:
    return ", ".join(map(_variable, names))


def _told(kind: str, where: tuple[int | str, ...], message: str) -> str:
    if not where:  # of several settings together, which the message names
        return message.removeprefix("Value error, ")
    variable = f"{PREFIX}{str(where[0]).upper()}"
    if kind == "missing":
        return f"{variable} is not set"
    return f"{variable}: {message.removeprefix('Value error, ')}"
