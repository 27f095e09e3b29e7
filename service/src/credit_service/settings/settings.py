"""The settings of a deployment: their names, types, bounds and defaults."""

from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from credit_service import bounds
from credit_service.application.auth.tokens import Token
from credit_service.domain.first_plan import AGE_MONTHS_MAX
from credit_service.domain.rules import LateRefund, Rules
from credit_service.runtime.programs import require_program
from credit_service.runtime.tls import TlsFileError, client_context
from credit_service.settings.names import (
    CLIENT,
    LOGIN,
    MECHANISM,
    OAUTH,
    PREFIX,
    PROTOCOL,
    ROLES,
    TOKEN_WAYS,
    password_files,
    variable_of,
    variables_of,
)
from credit_service.settings.values import (
    PostgresUrl,
    check_extensions,
    check_host_port_list,
    check_program,
    check_token_url,
    has_password,
    lower,
    parse_late_refund,
    parse_tokens,
    upper,
)

FIRST_PLAN_AGE_MONTHS_MAX: Final = 1200


def _same_as_service(validated: dict[str, Any]) -> SecretStr:
    url: SecretStr = validated["database_url"]
    return url


class HttpTokens(BaseSettings):
    """The only setting that the service reads again while it runs."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    http_tokens: Annotated[tuple[Token, ...], NoDecode, BeforeValidator(parse_tokens), Field(repr=False)] = ()


class Settings(HttpTokens):
    """All settings of the service; the variable of each is `CREDITS_` and its name in capitals."""

    database_url: PostgresUrl
    # A URL for each role, where the deployment has roles.
    relay_database_url: PostgresUrl = Field(default_factory=_same_as_service)
    read_database_url: PostgresUrl = Field(default_factory=_same_as_service)
    migration_database_url: PostgresUrl = Field(default_factory=_same_as_service)
    # Read again for each new connection whose URL has no password.
    database_password_file: Path | None = None
    relay_database_password_file: Path | None = None
    read_database_password_file: Path | None = None
    migration_database_password_file: Path | None = None
    database_password_command: Annotated[str | None, AfterValidator(check_program), Field(repr=False)] = None
    kafka_bootstrap_servers: Annotated[str, AfterValidator(check_host_port_list)]
    kafka_security_protocol: Annotated[
        Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"], BeforeValidator(upper)
    ] = "PLAINTEXT"
    kafka_sasl_mechanism: Annotated[
        Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN", "OAUTHBEARER"], BeforeValidator(upper)
    ] = "SCRAM-SHA-512"
    kafka_sasl_username: str | None = None
    kafka_sasl_password: SecretStr | None = None
    kafka_oauth_token_url: Annotated[str, AfterValidator(check_token_url)] | None = None
    kafka_oauth_client_id: Annotated[str, Field(pattern=r"^[ -~]{1,1000}$")] | None = None
    kafka_oauth_client_secret: SecretStr | None = None
    kafka_oauth_scope: Annotated[str, Field(pattern=r"^[!#-\[\]-~]+( [!#-\[\]-~]+)*$", max_length=2000)] | None = None
    kafka_oauth_extensions: Annotated[str, AfterValidator(check_extensions), Field(max_length=2000)] | None = None
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
    late_refund: Annotated[LateRefund, NoDecode, BeforeValidator(parse_late_refund)] = LateRefund()
    first_plan_age_months_max: Annotated[int, Field(ge=1, le=FIRST_PLAN_AGE_MONTHS_MAX)] = AGE_MONTHS_MAX
    parked_hours_max: Annotated[int, Field(ge=1, le=24 * 366)] = 24
    unreadable_in_a_row_max: Annotated[int, Field(ge=1)] = 1_000
    dead_letter_bytes_per_day: Annotated[int, Field(ge=0, default_factory=lambda: bounds.LETTER_BYTES_PER_DAY)]
    otlp_endpoint: Annotated[str, Field(pattern=r"^(https?://[^\s/?#@]+(/[^\s?#]*)?)?$", max_length=500)] = ""
    stuck_seconds_max: Annotated[int, Field(ge=10, le=24 * 3600)] = 600
    shutdown_seconds: Annotated[int, Field(ge=1, le=600)] = 25
    log_format: Annotated[Literal["auto", "json", "console"], BeforeValidator(lower)] = "auto"
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(lower)] = "info"
    # For tests of faults only: "name:n" ends the process when it reaches this failpoint for the n-th time.
    kill_at: Annotated[str, Field(pattern=r"^([a-z-]+:[1-9]\d*)?$", repr=False)] = ""

    @property
    def rules(self) -> Rules:
        """The settings that the rules of credit use."""
        return Rules(late_refund=self.late_refund, first_plan_age_months_max=self.first_plan_age_months_max)

    def database(self, role: str) -> tuple[str, str, tuple[str, Path] | str | None]:
        """The variable of a role's URL, that URL, and where its password comes from if the URL has none.

        The source of the password is a file, with the variable that names it, or a command. `role` is the prefix of the
        role's settings: nothing, `relay_`, `read_`, or `migration_`.
        """
        own = f"{role}database_url"
        secret: SecretStr = getattr(self, own)
        url = secret.get_secret_value()
        variable = variables_of([own if own in self.model_fields_set else "database_url"])
        if has_password(url):
            return variable, url, None
        named = next((name for name in password_files(role) if getattr(self, name) is not None), None)
        return variable, url, (variables_of([named]), getattr(self, named)) if named else self.database_password_command

    @model_validator(mode="after")
    def _each_password_has_one_source(self) -> Self:
        for_all = self._set_of("database_password_file", "database_password_command")
        if len(for_all) > 1:
            raise ValueError(f"{variables_of(for_all)} set, and only one of them can be")
        used: list[object] = []
        for role in ROLES:
            variable, url, way = self.database(role)
            own = f"{role}database_password_file"
            if own not in for_all and getattr(self, own) is not None and has_password(url):
                raise ValueError(f"{variables_of([own])} set, but {variable} has a password of its own")
            used.append(way[0] if isinstance(way, tuple) else way and variable_of("database_password_command"))
        if for_all and variables_of(for_all) not in used:
            raise ValueError(f"{variables_of(for_all)} set, but each URL has a password, or a file of one, of its own")
        return self

    @model_validator(mode="after")
    def _kafka_access_is_complete(self) -> Self:
        protocol = self.kafka_security_protocol
        files = ("kafka_ssl_cafile", "kafka_ssl_certfile", "kafka_ssl_keyfile")
        uses_tls = protocol.endswith("SSL")
        if protocol.startswith("SASL_"):
            self._require_login_of_mechanism()
            unused = []
        else:
            unused = self._set_of(*LOGIN, *OAUTH)
        # With a forgotten protocol, the service would connect without a login or without encryption.
        if unused := [*unused, *([] if uses_tls else self._set_of(*files))]:
            raise ValueError(f"{variables_of(unused)} set, but {variables_of(PROTOCOL)} is {protocol}")
        if self.kafka_ssl_keyfile and not self.kafka_ssl_certfile:
            raise ValueError(f"{variables_of(files[1:2])} not set, but {variables_of(files[2:])} is")
        if uses_tls:
            try:
                client_context(self.kafka_ssl_cafile, self.kafka_ssl_certfile, self.kafka_ssl_keyfile)
            except TlsFileError as error:
                raise ValueError(f"{variables_of([error.variable])}: {error}") from None
        return self

    def _require_login_of_mechanism(self) -> None:
        mechanism = f"{variables_of(MECHANISM)} is {self.kafka_sasl_mechanism}"
        if self.kafka_sasl_mechanism == "OAUTHBEARER":
            self._require_one_source_of_tokens(mechanism)
            unused = self._set_of(*LOGIN)
        else:
            if missing := self._missing(*LOGIN):
                protocol = f"{variables_of(PROTOCOL)} is {self.kafka_security_protocol}"
                raise ValueError(f"{variables_of(missing)} not set, and {protocol}")
            unused = self._set_of(*OAUTH)
        if unused:
            raise ValueError(f"{variables_of(unused)} set, but {mechanism}")

    def _require_one_source_of_tokens(self, mechanism: str) -> None:
        url, command = self.kafka_oauth_token_url, self.kafka_token_command
        if url is None and command is None:
            raise ValueError(f"{' or '.join(map(variable_of, TOKEN_WAYS))} not set, and {mechanism}")
        if url is not None and command is not None:
            raise ValueError(f"{variables_of(TOKEN_WAYS)} set, and only one of them makes the tokens")
        if url is not None and (missing := self._missing("kafka_oauth_client_id", "kafka_oauth_client_secret")):
            raise ValueError(f"{variables_of(missing)} not set, and {variable_of('kafka_oauth_token_url')} is")
        if command is not None and (unused := self._set_of(*CLIENT)):
            raise ValueError(f"{variables_of(unused)} set, but {variable_of('kafka_token_command')} makes the tokens")

    def _missing(self, *names: str) -> list[str]:
        return [name for name in names if getattr(self, name) is None]

    def _set_of(self, *names: str) -> list[str]:
        return [name for name in names if getattr(self, name) is not None]
