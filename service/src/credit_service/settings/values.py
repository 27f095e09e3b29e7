"""Checks and parses the values of single settings."""

import re
from ipaddress import ip_address
from typing import Annotated, Final
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, SecretStr

from credit_service.application.auth.tokens import read_tokens
from credit_service.domain.rules import LateRefund
from credit_service.runtime.programs import require_program

LATE_REFUND_DAYS_MAX: Final = 3650

_HOST = r"(?:[^\s:/?#@\[\],]+|\[[0-9A-Fa-f:]+\])"
_HOST_PORT_LIST = re.compile(rf"{_HOST}:\d{{1,5}}(?:,{_HOST}:\d{{1,5}})*")
_URL_HOST = rf"{_HOST}?(?::\d{{1,5}})?"
_POSTGRES_URL = re.compile(rf"postgresql://(?:[^\s/?#@]*@)?{_URL_HOST}(?:,{_URL_HOST})*(?:[/?]\S*)?")
_URL_CHARACTERS = re.compile(r"[!-~]+")
# As in RFC 7628; a comma would end the value.
_EXTENSION = r"[A-Za-z]+=[!-+\--~]+"
_EXTENSIONS = re.compile(rf"{_EXTENSION}(?:,{_EXTENSION})*")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def check_postgres_url(url: SecretStr) -> SecretStr:
    """Raises `ValueError` unless this is a URL of a Postgres database."""
    # Checked here, since the driver's own error would quote the URL, with its password.
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


def has_password(url: str) -> bool:
    """Whether the URL has a password."""
    parts = urlsplit(url)
    return bool(parts.password) or "password" in parse_qs(parts.query)


def check_host_port_list(servers: str) -> str:
    """Raises `ValueError` unless this is a list of host:port."""
    if not _HOST_PORT_LIST.fullmatch(servers):
        raise ValueError("must be host:port, several parted by commas")
    return servers


def parse_late_refund(value: object) -> object:
    """Parses what happens to a late refund."""
    if value in ("current-period", "forfeit"):
        return LateRefund(value)
    if isinstance(value, str):
        days = re.fullmatch(r"days:([1-9]\d{0,3})", value)
        if days is None or int(days[1]) > LATE_REFUND_DAYS_MAX:
            raise ValueError(f"must be current-period, forfeit, or days:N with N from 1 to {LATE_REFUND_DAYS_MAX}")
        return LateRefund("days", int(days[1]))
    return value


def check_program(command: str | None) -> str | None:
    """Raises `ValueError` unless the command names a program that exists."""
    return command and require_program(command)


def check_token_url(url: str) -> str:
    """Raises `ValueError` unless the URL is HTTPS or on this machine: it receives the client's secret."""
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


def check_extensions(text: str) -> str:
    """Raises `ValueError` unless these are SASL extensions."""
    names = [one.partition("=")[0] for one in text.split(",")]
    if not _EXTENSIONS.fullmatch(text) or "auth" in names or len({*names}) < len(names):
        raise ValueError("must be name=value, several parted by commas; names are letters, other than auth")
    return text


PostgresUrl = Annotated[SecretStr, AfterValidator(check_postgres_url)]


def lower(value: object) -> object:
    """A text in small letters."""
    return value.lower() if isinstance(value, str) else value


def upper(value: object) -> object:
    """A text in capital letters."""
    return value.upper() if isinstance(value, str) else value


def parse_tokens(value: object) -> object:
    """Parses the list of tokens."""
    return read_tokens(value) if isinstance(value, str) else value
