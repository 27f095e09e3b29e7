"""Requests tokens of an OpenID Connect provider by client credentials, bounded in time and size."""

import asyncio
import base64
import json
import os
import socket
import ssl
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, quote, urlencode, urlsplit

import h11

from credit_service.kafka.connect.tokens import LoginToken, NoToken

TOKEN_URL: Final = "CREDITS_KAFKA_OAUTH_TOKEN_URL"  # noqa: S105 - the name of a setting
CLIENT: Final = "CREDITS_KAFKA_OAUTH_CLIENT_ID and CREDITS_KAFKA_OAUTH_CLIENT_SECRET"
SCOPE: Final = "CREDITS_KAFKA_OAUTH_SCOPE"
REQUEST_SECONDS_MAX: Final = 10.0
ANSWER_BYTES_MAX: Final = 64 * 1024
_READ_BYTES: Final = 16 * 1024
# The error codes of RFC 6749, with the settings to check; no other text of an answer is repeated.
_FAULTS: Final = {
    "invalid_client": CLIENT,
    "unauthorized_client": CLIENT,
    "invalid_grant": CLIENT,
    "invalid_scope": SCOPE,
    "invalid_request": SCOPE,
    "unsupported_grant_type": TOKEN_URL,
}


@dataclass(frozen=True, slots=True)
class OAuthClient:
    """The client that requests a token, and the scope."""

    url: str
    client_id: str
    client_secret: str = field(repr=False)
    scope: str | None = None


async def from_endpoint(client: OAuthClient) -> LoginToken:
    """Requests a token; raises `NoToken`."""
    try:
        async with asyncio.timeout(REQUEST_SECONDS_MAX):
            status, answer = await _posted(client)
    except TimeoutError:
        raise _none(f"has not answered within {REQUEST_SECONDS_MAX:g} s") from None
    except ssl.SSLCertVerificationError:
        raise _none("has a certificate that this machine does not trust, or that is not for its name") from None
    except ssl.SSLError:
        raise _none("speaks no TLS that is understood") from None
    except OSError as error:
        raise _none(f"cannot be reached: {_why(error)}") from None
    except (h11.ProtocolError, EOFError):
        raise _none("does not answer in HTTP") from None
    if status != 200:
        raise _refused(status, answer)
    fields = _read(answer)
    return LoginToken.of(TOKEN_URL, fields.get("access_token"), _seconds(fields.get("expires_in")))


def _why(error: OSError) -> str:
    """The system's message: asyncio's own has addresses in it."""
    if isinstance(error, socket.gaierror):
        return str(error.strerror)
    return os.strerror(error.errno) if error.errno else type(error).__name__


async def _posted(client: OAuthClient) -> tuple[int, bytes]:
    url = urlsplit(client.url)
    is_encrypted = url.scheme == "https"
    reader, writer = await asyncio.open_connection(
        url.hostname,
        url.port or (443 if is_encrypted else 80),
        ssl=ssl.create_default_context() if is_encrypted else None,
    )
    try:
        http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_READ_BYTES)
        for event in _request(client, url):
            writer.write(http.send(event) or b"")
        return await _answer(http, reader)
    finally:
        writer.close()


def _request(client: OAuthClient, url: SplitResult) -> list[h11.Event]:
    fields = {"grant_type": "client_credentials"} | ({"scope": client.scope} if client.scope else {})
    body = urlencode(fields).encode()
    # Both are encoded, and then joined, as RFC 6749 has it.
    login = f"{quote(client.client_id, safe='')}:{quote(client.client_secret, safe='')}"
    head = h11.Request(
        method="POST",
        target=(url.path or "/") + (f"?{url.query}" if url.query else ""),
        headers=[
            ("Host", url.netloc),
            ("Authorization", f"Basic {base64.b64encode(login.encode()).decode()}"),
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("Content-Length", str(len(body))),
            ("Accept", "application/json"),
            ("Connection", "close"),
        ],
    )
    return [head, h11.Data(data=body), h11.EndOfMessage()]


async def _answer(http: h11.Connection, reader: asyncio.StreamReader) -> tuple[int, bytes]:
    status, body = 0, bytearray()
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await reader.read(_READ_BYTES))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > ANSWER_BYTES_MAX:
                raise _none(f"answers with more than {ANSWER_BYTES_MAX} bytes")
        elif isinstance(event, h11.EndOfMessage):
            return status, bytes(body)
        elif not isinstance(event, h11.InformationalResponse):
            raise EOFError


def _refused(status: int, answer: bytes) -> NoToken:
    fault = _read(answer).get("error")
    if isinstance(fault, str) and fault in _FAULTS:
        return _none(f"answers {status}, {fault}: see {_FAULTS[fault]}")
    if status in (400, 401, 403):
        return _none(f"answers {status}: see {CLIENT}")
    return _none(f"answers {status}")


def _read(answer: bytes) -> dict[str, object]:
    try:
        fields = json.loads(answer)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _seconds(value: object) -> float:
    """The seconds of a number, which some endpoints write as text."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return float(value[:10])
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def _none(reason: str) -> NoToken:
    return NoToken(f"no token for Kafka: {TOKEN_URL} {reason}")
