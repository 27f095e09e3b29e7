"""The secrets and certificates of the login to Kafka, which may change while the service runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from credit_service.kafka.connect.token_command import COMMAND, from_command
from credit_service.kafka.connect.token_endpoint import TOKEN_URL, OAuthClient, from_endpoint
from credit_service.kafka.connect.tokens import LoginToken, Tokens
from credit_service.runtime.tls import TlsFileError, client_context
from credit_service.settings import PREFIX, secret_file_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from ssl import SSLContext

    from pydantic import SecretStr

    from credit_service.settings import Settings

log = structlog.get_logger(__name__)

SECRET_BYTES_MAX: Final = 64 * 1024
PEM_BYTES_MAX: Final = 16 * 1024 * 1024


class Credentials:
    """The current secrets: each property is read again for each connection, from small files, and never raises.

    A file that is half written, or cannot be read, is logged once, and the previous value is kept.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._username = SecretSetting.of(settings, "kafka_sasl_username")
        self._password = SecretSetting.of(settings, "kafka_sasl_password")
        self._client_id = SecretSetting.of(settings, "kafka_oauth_client_id")
        self._client_secret = SecretSetting.of(settings, "kafka_oauth_client_secret")
        self._certificates = Certificates.of(settings)
        self.tokens = self._tokens(settings) if settings else None

    @property
    def username(self) -> str:
        """The user."""
        return self._username.now()

    @property
    def password(self) -> str:
        """The password."""
        return self._password.now()

    @property
    def ssl_context(self) -> SSLContext | None:
        """The CAs that are trusted, and the client's certificate; None without TLS."""
        return self._certificates.now()

    def _tokens(self, settings: Settings) -> Tokens | None:
        extensions = _read_extensions(settings.kafka_oauth_extensions)
        if command := settings.kafka_token_command:
            return Tokens(lambda: from_command(command), COMMAND, extensions)
        if url := settings.kafka_oauth_token_url:
            scope = settings.kafka_oauth_scope

            async def make() -> LoginToken:
                return await from_endpoint(OAuthClient(url, self._client_id.now(), self._client_secret.now(), scope))

            return Tokens(make, TOKEN_URL, extensions)
        return None


class SecretSetting:
    """A setting; its current value where it comes from a file of secrets."""

    def __init__(self, name: str, value: str, file: Path | None) -> None:
        self._variable = PREFIX + name.upper()
        self._value = value
        self._file = file
        self._is_wrong = False

    @classmethod
    def of(cls, settings: Settings | None, name: str) -> SecretSetting:
        """The setting of this name; empty if it is not set."""
        value: str | SecretStr | None = getattr(settings, name, None)
        if value is None:
            return cls(name, "", None)
        return cls(name, value if isinstance(value, str) else value.get_secret_value(), secret_file_of(name))

    def now(self) -> str:
        """The current value."""
        if self._file is None:
            return self._value
        try:
            read = _start_of(self._file, SECRET_BYTES_MAX).decode().strip()
        except (OSError, UnicodeDecodeError):
            read = ""
        if not read or "\0" in read:
            if not self._is_wrong:
                log.warning("a secret's file cannot be read, the secret stays as it was", setting=self._variable)
            self._is_wrong = True
            return self._value
        self._is_wrong = False
        if read != self._value:
            log.info("a secret has changed", setting=self._variable)
            self._value = read
        return read


class Certificates:
    """The TLS context, which is created again when its files have changed."""

    def __init__(self, files: Mapping[str, Path], *, uses_tls: bool) -> None:
        self._files = dict(files)
        self._problem: str | None = None
        # Before they are loaded, so that a change meanwhile is noticed.
        self._seen = self._contents()
        self._context = self._load() if uses_tls else None

    @classmethod
    def of(cls, settings: Settings | None) -> Certificates:
        """The certificates of the settings."""
        if settings is None or not settings.kafka_security_protocol.endswith("SSL"):
            return cls({}, uses_tls=False)
        named = {name: getattr(settings, name) for name in _FILES}
        return cls({name: file for name, file in named.items() if file is not None}, uses_tls=True)

    def now(self) -> SSLContext | None:
        """The current context."""
        # Compared by content: a file may be written twice within one tick of its modification time.
        contents = self._contents()
        if contents == self._seen:
            return self._context
        self._seen = contents
        problem = None
        try:
            self._context = self._load()
            log.info("certificates have changed", settings=[PREFIX + name.upper() for name in self._files])
        except TlsFileError as error:
            problem = f"{PREFIX}{error.variable.upper()}: {error}"
        except OSError as error:
            problem = f"{PREFIX}{next(iter(self._files)).upper()}: {type(error).__name__}"
        if problem is not None and problem != self._problem:
            log.warning("certificates stay as they were", problem=problem)
        self._problem = problem
        return self._context

    def _load(self) -> SSLContext:
        return client_context(*(self._files.get(name) for name in _FILES))

    def _contents(self) -> list[bytes | None]:
        return [_start_or_none(file) for file in self._files.values()]


_FILES: Final = ("kafka_ssl_cafile", "kafka_ssl_certfile", "kafka_ssl_keyfile")


def _start_of(file: Path, bytes_max: int) -> bytes:
    with file.open("rb") as opened:
        return opened.read(bytes_max)


def _start_or_none(file: Path) -> bytes | None:
    try:
        return _start_of(file, PEM_BYTES_MAX)
    except OSError:
        return None


def _read_extensions(setting: str | None) -> dict[str, str]:
    return dict(one.split("=", 1) for one in setting.split(",")) if setting else {}
