"""Tokens for a test's broker: their signer, an endpoint that issues them, and a program that prints them."""

from __future__ import annotations

import base64
import json
import shlex
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from support.patience import patience

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AUDIENCE, KEY_ID = "kafka", "tests"


@dataclass
class Signer:
    """Makes JSON Web Tokens, signed with a key of its own."""

    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048), repr=False)

    def jwks(self) -> str:
        """Its public key, as brokers read it."""
        numbers = self.key.public_key().public_numbers()
        sizes = {name: number.to_bytes((number.bit_length() + 7) // 8) for name, number in vars_of(numbers).items()}
        shown = {name: _base64(number) for name, number in sizes.items()}
        return json.dumps({"keys": [{"kty": "RSA", "kid": KEY_ID, "alg": "RS256", "use": "sig", **shown}]})

    def token(self, subject: str, seconds: float = 3600, *, audience: str = AUDIENCE) -> str:
        """A token that lives so long; one of the past has ended."""
        now = time.time()
        claims = {"sub": subject, "aud": audience, "iat": int(now + min(seconds, 0)) - 1, "exp": int(now + seconds)}
        head = {"alg": "RS256", "typ": "JWT", "kid": KEY_ID}
        signed = ".".join(_base64(json.dumps(part).encode()) for part in (head, claims))
        return f"{signed}.{_base64(self.key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


@cache
def the_signer() -> Signer:
    """One for all tests: a key takes long to be made."""
    return Signer()


def vars_of(numbers: rsa.RSAPublicNumbers) -> dict[str, int]:
    """By the names that JSON Web Keys have for them."""
    return {"n": numbers.n, "e": numbers.e}


@dataclass
class Endpoint:
    """Gives tokens to one client; `answer` is an answer that it gives in place of any, `may_answer` lets it give.

    A token lives for `seconds`; where `told_seconds` is set, it is said to live so long.
    """

    signer: Signer
    client_id: str
    client_secret: str
    subject: str
    seconds: float = 3600
    scope: str | None = None
    url: str = ""
    audience: str = AUDIENCE
    told_seconds: float | None = None
    answer: tuple[int, bytes] | None = None
    asked: list[dict[str, list[str]]] = field(default_factory=list)
    given: list[str] = field(default_factory=list)
    may_answer: threading.Event = field(default_factory=threading.Event)

    def settings(self, **changed: str) -> dict[str, str]:
        """What a client of it is set to."""
        return {
            "kafka_oauth_token_url": self.url,
            "kafka_oauth_client_id": self.client_id,
            "kafka_oauth_client_secret": self.client_secret,
            **changed,
        }

    def answered(self, authorization: str, asked: dict[str, list[str]]) -> tuple[int, bytes]:
        """The status and the body for a client that asks so."""
        self.asked.append(asked)
        if self.answer is not None:
            return self.answer
        kind, _, login = authorization.partition(" ")
        client = tuple(unquote(part) for part in base64.b64decode(login).decode().split(":"))
        if kind != "Basic" or client != (self.client_id, self.client_secret):
            return 401, json.dumps({"error": "invalid_client", "error_description": client}).encode()
        if asked.get("grant_type") != ["client_credentials"]:
            return 400, b'{"error": "unsupported_grant_type"}'
        if self.scope and asked.get("scope") != [self.scope]:
            return 400, b'{"error": "invalid_scope"}'
        token = self.signer.token(self.subject, self.seconds, audience=self.audience)
        self.given.append(token)
        lives = self.told_seconds or max(int(self.seconds), 3600 if self.seconds < 0 else 1)
        return 200, json.dumps({"access_token": token, "token_type": "Bearer", "expires_in": lives}).encode()


@contextmanager
def giving_tokens(endpoint: Endpoint) -> Iterator[Endpoint]:
    """An endpoint that listens while this is open."""
    endpoint.may_answer.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
            endpoint.may_answer.wait(patience(60))
            status, body = endpoint.answered(self.headers.get("authorization", ""), asked)
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A client that has gone is none."""

    server = Server(("127.0.0.1", 0), Handler)
    endpoint.url = f"http://127.0.0.1:{server.server_port}/token"
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        yield endpoint
    finally:
        endpoint.may_answer.set()
        server.shutdown()
        server.server_close()
        serving.join()


def prints(folder: Path, printed: str) -> str:
    """A command that prints what stands in the file `printed.json` of the folder, which this writes."""
    file = folder / "printed.json"
    file.write_text(printed)
    code = f"import sys; sys.stdout.write(open({str(file)!r}).read())"
    return f"{shlex.quote(sys.executable)} -c {shlex.quote(code)}"


def printed(token: str, seconds: float = 3600) -> str:
    """As the service reads it."""
    return json.dumps({"token": token, "expires_in": seconds})


def _base64(text: bytes) -> str:
    return base64.urlsafe_b64encode(text).decode().rstrip("=")
