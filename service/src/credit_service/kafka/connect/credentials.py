"""What this deployment logs in to Kafka with, as it is now: secrets and certificates may change while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from credit_service.kafka.connect.token_command import COMMAND, from_command
from credit_service.kafka.connect.token_endpoint import TOKEN_URL, Client, from_endpoint
from credit_service.kafka.connect.tokens import Token, Tokens
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
    """Each property is read anew for each connection: it looks at small files, and never raises.

    What is half written, or cannot be read, is told once, and what was in force before goes on.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._username = Followed.of(settings, "kafka_sasl_username")
        self._password = Followed.of(settings, "kafka_sasl_password")
        self._client_id = Followed.of(settings, "kafka_oauth_client_id")
        self._client_secret = Followed.of(settings, "kafka_oauth_client_secret")
        self._certificates = Certificates.of(settings)
        self.tokens = self._tokens(settings) if settings else None

    @property
    def username(self) -> str:
        """Who logs in."""
        return self._username.now()

    @property
    def password(self) -> str:
        """By what."""
        return self._password.now()

    @property
    def ssl_context(self) -> SSLContext | None:
        """How brokers are known, and this deployment by them; None without TLS."""
        return self._certificates.now()

    def _tokens(self, settings: Settings) -> Tokens | None:
        extensions = _read_extensions(settings.kafka_oauth_extensions)
        if command := settings.kafka_token_command:
            return Tokens(lambda: from_command(command), COMMAND, extensions)
        if url := settings.kafka_oauth_token_url:
            scope = settings.kafka_oauth_scope

            async def make() -> Token:
                return await from_endpoint(Client(url, self._client_id.now(), self._client_secret.now(), scope))

            return Tokens(make, TOKEN_URL, extensions)
        return None


class Followed:
    """A setting; where it comes from a file of secrets, what stands there now."""

    def __init__(self, name: str, value: str, file: Path | None) -> None:
        self._variable = PREFIX + name.upper()
        self._value = value
        self._file = file
        self._is_wrong = False

    @classmethod
    def of(cls, settings: Settings | None, name: str) -> Followed:
        """The setting of this name; without one it is empty."""
        told: str | SecretStr | None = getattr(settings, name, None)
        if told is None:
            return cls(name, "", None)
        return cls(name, told if isinstance(told, str) else told.get_secret_value(), secret_file_of(name))

    def now(self) -> str:
        """Its value."""
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
    """The context of TLS, made anew when its files have changed."""

    def __init__(self, files: Mapping[str, Path], *, uses_tls: bool) -> None:
        self._files = dict(files)
        self._problem: str | None = None
        # Before they are loaded: what changes meanwhile is then seen as a change.
        self._seen = self._contents()
        self._context = self._load() if uses_tls else None

    @classmethod
    def of(cls, settings: Settings | None) -> Certificates:
        """Those of the settings."""
        if settings is None or not settings.kafka_security_protocol.endswith("SSL"):
            return cls({}, uses_tls=False)
        named = {name: getattr(settings, name) for name in _FILES}
        return cls({name: file for name, file in named.items() if file is not None}, uses_tls=True)

    def now(self) -> SSLContext | None:
        """The context in force."""
        # Compared byte by byte: a file that is written twice within one tick of its clock is seen as well.
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


def _read_extensions(told: str | None) -> dict[str, str]:
    return dict(one.split("=", 1) for one in told.split(",")) if told else {}
