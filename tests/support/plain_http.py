"""An HTTP client of servers without TLS."""

from __future__ import annotations

import ssl
from typing import Any

import httpx

_NOBODY_TRUSTED = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def http_client(**options: Any) -> httpx.AsyncClient:
    """Knows no certificates: reading those of the system costs more than an answer."""
    return httpx.AsyncClient(verify=_NOBODY_TRUSTED, **options)
