"""Tokens for Kafka: for how long one is used, how it is renewed, and what failures report."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
import structlog

from credit_service.kafka.connect import token_endpoint, tokens
from credit_service.kafka.connect.token_command import from_command, read_printed
from credit_service.kafka.connect.token_endpoint import OAuthClient, from_endpoint
from credit_service.kafka.connect.token_login import TokenAuthenticator, TokenConnection
from credit_service.kafka.connect.tokens import LoginToken, NoToken, Tokens
from support.patience import patience
from support.tokens_of_kafka import Endpoint, Signer, giving_tokens, printed, prints, the_signer
from support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "hunter2"  # noqa: S105 - what must not be told
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


class Clock:
    """The clock of the tokens."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        monkeypatch.setattr(tokens, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Maker:
    """Makes tokens with numbers, or fails."""

    def __init__(self) -> None:
        self.made = 0
        self.fault: Exception | None = None
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def __call__(self) -> LoginToken:
        self.made += 1
        number = self.made
        await self.may_answer.wait()
        if self.fault:
            raise self.fault
        return LoginToken(f"token-{number}", 100)


async def test_one_is_used_until_four_fifths_of_its_life(clock: Clock) -> None:
    provider = Tokens(Maker(), "HERE")
    assert await provider.token() == "token-1"
    clock.now += 79.9
    assert await provider.token() == "token-1"
    clock.now += 0.2
    assert await provider.token() == "token-2"


async def test_its_life_counts_from_when_it_was_asked_for(clock: Clock) -> None:
    maker = Maker()
    provider = Tokens(maker, "HERE")
    maker.may_answer.clear()
    asked = asyncio.create_task(provider.token())
    await eventually(lambda: maker.made == 1, what="asked for")
    clock.now += 79
    maker.may_answer.set()
    assert await asked == "token-1"
    clock.now += 2
    assert await provider.token() == "token-2"


async def test_many_who_ask_at_once_get_one_and_none_of_them_can_take_it_from_the_others() -> None:
    maker = Maker()
    provider = Tokens(maker, "HERE")
    maker.may_answer.clear()
    asked = [asyncio.create_task(provider.token()) for _ in range(50)]
    await eventually(lambda: maker.made == 1, what="asked for")
    asked[0].cancel()
    await asyncio.gather(asked[0], return_exceptions=True)
    maker.may_answer.set()
    assert {await one for one in asked[1:]} == {"token-1"}
    assert maker.made == 1


async def test_the_old_one_goes_on_while_no_other_can_be_had_and_no_longer_than_it_lives(clock: Clock) -> None:
    maker = Maker()
    provider = Tokens(maker, "HERE")
    await provider.token()
    maker.fault = NoToken("no token for Kafka: HERE is away")
    clock.now += 99
    assert await provider.token() == "token-1"
    clock.now += 1.5
    with pytest.raises(NoToken, match=r"^no token for Kafka: HERE is away$"):
        await provider.token()
    maker.fault = None
    clock.now += 2.1
    assert await provider.token() == "token-4"


async def test_after_each_failure_it_is_tried_again_half_as_soon_and_as_soon_as_ever_after_a_success(
    clock: Clock,
) -> None:
    maker = Maker()
    maker.fault = NoToken("away")
    provider = Tokens(maker, "HERE")

    async def is_not_there() -> None:
        for _ in range(20):
            with pytest.raises(NoToken, match="away"):
                await provider.token()

    for tries, pause in enumerate((1, 2, 4, 8, 16, 30, 30), start=1):
        await is_not_there()
        clock.now += pause - 0.1
        await is_not_there()
        assert maker.made == tries
        clock.now += 0.2
    maker.fault = None
    assert await provider.token() == "token-8"
    maker.fault = NoToken("away")
    clock.now += 101
    await is_not_there()
    clock.now += 1.1
    await is_not_there()
    assert maker.made == 10


async def test_a_token_that_lives_is_given_however_long_the_pause_is(clock: Clock) -> None:
    maker = Maker()
    provider = Tokens(maker, "HERE")
    await provider.token()
    maker.fault = NoToken("away")
    for seconds in (80.5, 1.1, 2.1, 4.1, 8.1):
        clock.now += seconds
        assert await provider.token() == "token-1"
    assert maker.made == 6
    clock.now += 3
    assert await provider.token() == "token-1"
    assert maker.made == 6


async def test_a_failure_is_told_once_and_so_is_its_end(clock: Clock) -> None:
    maker = Maker()
    maker.fault = NoToken("no token for Kafka: HERE is away")
    provider = Tokens(maker, "HERE")
    with structlog.testing.capture_logs() as said:
        for _ in range(3):
            with pytest.raises(NoToken):
                await provider.token()
            clock.now += 10
        maker.fault = None
        await provider.token()
    assert [line["event"] for line in said] == ["no token for Kafka", "there is a token for Kafka again"]
    assert said[0]["problem"] == "no token for Kafka: HERE is away"


async def test_one_that_a_broker_has_refused_is_not_shown_again(clock: Clock) -> None:
    provider = Tokens(Maker(), "HERE")
    provider.forget(await provider.token())
    with pytest.raises(NoToken, match="a broker has refused that of HERE"):
        await provider.token()
    clock.now += 1.1
    assert await provider.token() == "token-2"


async def test_a_refusal_that_comes_late_does_not_take_away_the_token_that_was_made_meanwhile(clock: Clock) -> None:
    provider = Tokens(Maker(), "HERE")
    slow, fast = (TokenAuthenticator(sasl_oauth_token_provider=provider) for _ in range(2))
    await slow.step(None)
    await fast.step(None)
    provider.forget(fast.sent_token)
    clock.now += 1.1
    assert await provider.token() == "token-2"
    provider.forget(slow.sent_token)
    assert await provider.token() == "token-2"


async def test_who_waits_too_long_is_told_and_the_token_still_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "WAIT_SECONDS_MAX", 0.05)
    maker = Maker()
    provider = Tokens(maker, "HERE")
    maker.may_answer.clear()
    with pytest.raises(NoToken, match="HERE has not given one yet"):
        await provider.token()
    maker.may_answer.set()

    async def is_there() -> bool:
        try:
            return await provider.token() == "token-1"
        except NoToken:
            return False

    await eventually(is_there, what="the token")
    assert maker.made == 1


async def test_who_has_one_that_lives_does_not_wait_long_for_the_next(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "WAIT_SECONDS_MAX", 3600.0)
    monkeypatch.setattr(tokens, "RENEWED_SECONDS_MAX", 0.05, raising=False)
    maker = Maker()
    provider = Tokens(maker, "HERE")
    await provider.token()
    maker.may_answer.clear()
    clock.now += 81
    assert await asyncio.wait_for(provider.token(), patience(5)) == "token-1"
    assert maker.made == 2
    maker.may_answer.set()

    async def is_renewed() -> bool:
        return await provider.token() == "token-2"

    await eventually(is_renewed, what="the next")


async def test_one_that_was_to_be_made_when_the_service_ended_is_not_told_as_there(clock: Clock) -> None:
    maker = Maker()
    maker.fault = NoToken("away")
    provider = Tokens(maker, "HERE")
    with pytest.raises(NoToken):
        await provider.token()
    clock.now += 2
    maker.may_answer.clear()
    asked = asyncio.create_task(provider.token())
    await eventually(lambda: maker.made == 2, what="asked for")
    making = provider._making
    assert making is not None
    with structlog.testing.capture_logs() as said:
        making.cancel()
        with pytest.raises(NoToken, match="away"):
            await asked
    assert said == []


async def test_a_defect_is_told_by_its_type_and_does_not_end_who_asks() -> None:
    maker = Maker()
    maker.fault = ValueError(SECRET)
    with pytest.raises(NoToken, match=r"^no token for Kafka: ValueError$"):
        await Tokens(maker, "HERE").token()


async def test_a_refusal_that_is_no_refusal_in_the_protocol_is_asked_for() -> None:
    """Brokers answer a bad token with JSON and a success, and refuse it only after the next message."""
    provider = Tokens(Maker(), "HERE", {"logicalCluster": "lkc-1"})
    good = TokenAuthenticator(sasl_oauth_token_provider=provider)
    first = await good.step(None)
    assert first == (b"n,,\x01auth=Bearer token-1\x01logicalCluster=lkc-1\x01\x01", True)
    assert await good.step(b"") is None
    bad = TokenAuthenticator(sasl_oauth_token_provider=provider)
    await bad.step(None)
    assert await bad.step(b'{"status":"invalid_token"}') == (b"\x01", True)
    assert await bad.step(b"") is None


@pytest.mark.parametrize(("protocol", "is_told"), [("SASL_PLAINTEXT", True), ("SASL_SSL", False)])
async def test_tokens_that_are_sent_in_the_clear_are_told_of_once(
    protocol: str, is_told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TokenConnection, "has_warned", False, raising=False)
    with structlog.testing.capture_logs() as said:
        for _ in range(3):
            TokenConnection(
                "127.0.0.1",
                9092,
                security_protocol=protocol,
                sasl_mechanism="OAUTHBEARER",
                sasl_oauth_token_provider=Tokens(Maker(), "HERE"),
            ).authenticator_oauth()
    warning = {
        "event": "tokens are sent to Kafka in the clear",
        "setting": "CREDITS_KAFKA_SECURITY_PROTOCOL",
        "log_level": "warning",
    }
    assert said == ([warning] if is_told else [])


# --- programs


@pytest.mark.parametrize(
    ("said", "life"),
    [
        ({"token": "a.b-c_d~e+f/g==", "expires_in": 900}, 900),
        ({"token": "abc", "expires_in": 0.5}, 0.5),
        ({"token": "abc", "expires_at": "2026-11-30T12:15:00Z"}, 900),
        ({"token": "abc", "expires_at": "2026-11-30T13:15:00.5+01:00"}, 900.5),
    ],
)
def test_what_a_program_prints_is_a_token_and_its_life(said: dict[str, object], life: float) -> None:
    assert read_printed(json.dumps(said), NOW) == LoginToken(str(said["token"]), life)


PRINTS_NONE = "CREDITS_KAFKA_TOKEN_COMMAND does not print JSON with token, and expires_at or expires_in"
GIVES_NONE = "CREDITS_KAFKA_TOKEN_COMMAND gives none that can be sent"
HAS_ENDED = "CREDITS_KAFKA_TOKEN_COMMAND gives one that has ended, or does not say when it ends"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (SECRET, PRINTS_NONE),
        (json.dumps(SECRET), PRINTS_NONE),
        (json.dumps([SECRET]), PRINTS_NONE),
        ("[" * 20_000, PRINTS_NONE),
        (json.dumps({"token": SECRET}), PRINTS_NONE),
        (json.dumps({"expires_in": 1}), PRINTS_NONE),
        (json.dumps({"token": SECRET, "expires_in": 1, "expires_at": "2026-11-30T13:00:00Z"}), PRINTS_NONE),
        (json.dumps({"token": SECRET, "expires_in": 1, "more": 1}), PRINTS_NONE),
        (json.dumps({"token": SECRET, "expires_in": "900"}), PRINTS_NONE),
        (json.dumps({"token": SECRET, "expires_in": True}), PRINTS_NONE),
        (json.dumps({"token": SECRET, "expires_at": "2026-11-30T13:00:00"}), PRINTS_NONE),
        (json.dumps({"token": SECRET, "expires_at": 1796040000}), PRINTS_NONE),
        (json.dumps({"token": SECRET, "expires_at": "tomorrow"}), PRINTS_NONE),
        (json.dumps({"token": f"{SECRET}\x01auth=Bearer other", "expires_in": 1}), GIVES_NONE),
        (json.dumps({"token": f"{SECRET} ", "expires_in": 1}), GIVES_NONE),
        (json.dumps({"token": "", "expires_in": 1}), GIVES_NONE),
        (json.dumps({"token": 7, "expires_in": 1}), GIVES_NONE),
        (json.dumps({"token": SECRET, "expires_in": 0}), HAS_ENDED),
        (json.dumps({"token": SECRET, "expires_in": -1}), HAS_ENDED),
        (f'{{"token": "{SECRET}", "expires_in": NaN}}', HAS_ENDED),
        (f'{{"token": "{SECRET}", "expires_in": 1e999}}', HAS_ENDED),
        (json.dumps({"token": SECRET, "expires_at": "2026-11-30T11:59:59Z"}), HAS_ENDED),
    ],
)
def test_what_is_no_token_is_one_line_without_a_word_of_it(said: str, told: str) -> None:
    with pytest.raises(NoToken) as caught:
        read_printed(said, NOW)
    assert str(caught.value) == f"no token for Kafka: {told}"


async def test_a_program_that_fails_is_named_with_its_setting(tmp_path: Path) -> None:
    token = the_signer().token("service")
    assert await from_command(prints(tmp_path, printed(token, 60))) == LoginToken(token, 60)
    with pytest.raises(NoToken, match=r"^no token for Kafka: CREDITS_KAFKA_TOKEN_COMMAND: false ends with exit code 1"):
        await from_command(f"false {SECRET}")


async def test_a_program_that_hangs_keeps_no_loop_from_ending() -> None:
    waiting = asyncio.create_task(from_command("sleep 15"))
    await eventually(lambda: any(t.name == "kafka-token" for t in threading.enumerate()), what="it runs")
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "kafka-token")


# --- an endpoint


@contextmanager
def answering(endpoint: Endpoint, status: int, body: bytes) -> Iterator[OAuthClient]:
    endpoint.answer = (status, body)
    with giving_tokens(endpoint):
        yield client_of(endpoint)


def client_of(endpoint: Endpoint) -> OAuthClient:
    return OAuthClient(endpoint.url, endpoint.client_id, endpoint.client_secret, endpoint.scope)


@pytest.fixture
def endpoint() -> Endpoint:
    # Both are sent as RFC 6749 wants: encoded, and then joined by a colon.
    return Endpoint(Signer(the_signer().key), "the client: ü%", f"{SECRET}:+ %/", "service", 300)


async def test_a_client_gets_a_token_for_its_scope(endpoint: Endpoint) -> None:
    endpoint.scope = "kafka:write api://kafka/.default"
    with giving_tokens(endpoint):
        token = await from_endpoint(client_of(endpoint))
    assert token == LoginToken(endpoint.given[0], 300)
    assert endpoint.asked == [{"grant_type": ["client_credentials"], "scope": [endpoint.scope]}]
    assert SECRET not in repr(client_of(endpoint)) + repr(token)
    assert endpoint.given[0] not in repr(token)


CLIENT = "see CREDITS_KAFKA_OAUTH_CLIENT_ID and CREDITS_KAFKA_OAUTH_CLIENT_SECRET"


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (
            401,
            f'{{"error": "invalid_client", "error_description": "{SECRET}"}}',
            f"answers 401, invalid_client: {CLIENT}",
        ),
        (400, '{"error": "invalid_scope"}', "answers 400, invalid_scope: see CREDITS_KAFKA_OAUTH_SCOPE"),
        (400, f'{{"error": "{SECRET}"}}', f"answers 400: {CLIENT}"),
        (403, SECRET, f"answers 403: {CLIENT}"),
        (302, "", "answers 302"),
        (503, SECRET, "answers 503"),
        (200, SECRET, "gives none that can be sent"),
        (200, "[" * 20_000, "gives none that can be sent"),
        (200, f'{{"access_token": "{SECRET} "}}', "gives none that can be sent"),
        (200, f'{{"access_token": "{SECRET}"}}', "gives one that has ended, or does not say when it ends"),
        (200, f'{{"access_token": "{SECRET}", "expires_in": "soon"}}', "gives one that has ended, or does not say"),
        (200, f'{{"access_token": "{SECRET}", "expires_in": {"9" * 5000}}}', "gives none that can be sent"),
        (200, f'"{SECRET * 20_000}"', "answers with more than 65536 bytes"),
    ],
)
async def test_an_answer_without_a_token_is_one_line_without_a_word_of_it(
    status: int, body: str, told: str, endpoint: Endpoint
) -> None:
    with answering(endpoint, status, body.encode()) as client, pytest.raises(NoToken) as caught:
        await from_endpoint(client)
    assert str(caught.value).startswith(f"no token for Kafka: CREDITS_KAFKA_OAUTH_TOKEN_URL {told}")
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


async def test_a_life_that_is_written_as_text_is_read(endpoint: Endpoint) -> None:
    with answering(endpoint, 200, b'{"access_token": "abc", "expires_in": "3599"}') as client:
        assert await from_endpoint(client) == LoginToken("abc", 3599)


async def test_one_that_does_not_answer_is_given_up(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_endpoint, "REQUEST_SECONDS_MAX", 0.2)
    with giving_tokens(endpoint):
        endpoint.may_answer.clear()
        with pytest.raises(NoToken, match=r"has not answered within 0\.2 s"):
            await from_endpoint(client_of(endpoint))


async def test_one_that_is_away_or_speaks_otherwise_is_told(endpoint: Endpoint) -> None:
    with giving_tokens(endpoint):
        url = endpoint.url
        with pytest.raises(NoToken, match="speaks no TLS that is understood"):
            await from_endpoint(OAuthClient(url.replace("http", "https"), "a", SECRET))
    with pytest.raises(NoToken, match=r"cannot be reached: Connection refused$"):
        await from_endpoint(OAuthClient(url, "a", SECRET))
    with pytest.raises(NoToken, match=r"cannot be reached: \w"):
        await from_endpoint(OAuthClient("https://no-such-host.invalid/token", "a", SECRET))


async def test_one_that_hangs_up_or_speaks_no_http_is_told() -> None:
    for said in (b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"):

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, said: bytes = said) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(said)
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(NoToken, match=r"does not answer in HTTP|cannot be reached: Connection reset"):
                await from_endpoint(OAuthClient(f"http://127.0.0.1:{port}/token", "a", SECRET))


async def test_no_other_address_is_gone_to(endpoint: Endpoint) -> None:
    """The secret is sent only to the configured address."""

    class Elsewhere(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(307)
            self.send_header("Location", endpoint.url)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with giving_tokens(endpoint), ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        serving = threading.Thread(target=server.serve_forever, daemon=True)
        serving.start()
        with pytest.raises(NoToken, match=r"answers 307$"):
            await from_endpoint(OAuthClient(f"http://127.0.0.1:{server.server_port}/", "a", SECRET))
        server.shutdown()
        serving.join(patience(10))
    assert endpoint.asked == []


def test_an_instant_is_read_in_any_zone() -> None:
    ends = (NOW + timedelta(minutes=15)).isoformat()
    assert read_printed(json.dumps({"token": "a", "expires_at": ends}), NOW).life_seconds == 900
