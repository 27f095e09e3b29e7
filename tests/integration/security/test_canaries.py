"""A secret and a person's address are sent down every way that fails, and come out nowhere but in dead letters.

Ids (of accounts, prospects, plans, purchases, events, and the sources of events) are opaque: those who chose them read
them again, and so there is no canary in them. What a person types is shown to that person. What a person said as a
reason is kept, which is what it is for.
"""

import asyncio
import json
import shlex
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import asyncpg
import psutil  # type: ignore[import-untyped]
import pytest

from credit_contracts.envelope import Headers
from credit_service.application.auth.tokens import Scope, sha256_of
from support.canaries import BIRD, email, flown, secret, tables
from support.collector import Collector, collecting
from support.credits import run_credits
from support.observed import CHANGES, DECLINES, INCOMING, Observed
from support.patience import patience
from support.plain_http import http_client
from support.secured import SecuredBroker
from support.service import Deployment, ServiceProcess
from support.tokens_of_kafka import Endpoint, giving_tokens, printed, prints
from support.traffic import Upstream
from support.wait import eventually

NOW = datetime.now(UTC)
UNREADABLE_IN_A_ROW_MAX = 25
TOKEN = f"credits_{secret('token-').ljust(43, 'x')}"
TOKEN_HASH = sha256_of(TOKEN)
TOKEN_KEPT = {"name": "canary", "sha256": TOKEN_HASH, "scopes": [*Scope]}
Message = tuple[str, bytes | None, Headers]

# Loaded by the service's Python as it starts: each of its parts fails once, in words that it must not repeat.
FAULTS = """
import asyncio
from credit_service.application.processing import fold as waited
from credit_service.kafka.consume import intake, turns
from credit_service.kafka.publish import relay
from credit_service.postgres.reads import queries as read
from credit_service.tracing import export

# The collector is a thread of the test, which may have to wait for its turn.
export.SEND_SECONDS_MAX = export.FLUSH_SECONDS_MAX = 30

def words(where):
    return "kanarienvogel." + where + "@example.com"

def fails_first(owner, name, where):
    works, failed = getattr(owner, name), []
    def once(*arguments, **named):
        if not failed:
            failed.append(True)
            raise ValueError(words(where))
        return works(*arguments, **named)
    setattr(owner, name, once)

decides = waited.decide
def decide(accounts, inputs, *arguments):
    if "defective" in accounts:
        try:
            {}[words("domain-cause")]
        except KeyError as cause:
            raise ArithmeticError(words("domain")) from cause
    return decides(*arguments[:0], accounts, inputs, *arguments)
waited.decide = decide

fails_first(intake.Intake, "_take_in", "intake")
fails_first(turns.Turns, "_take_turn", "turn")
fails_first(relay.Relay, "_publish_waiting", "relay")
fails_first(read.PostgresReads, "entries", "http")

leads = relay.Relay._lead
async def lead(self):
    async def dropped():
        raise RuntimeError(words("task"))
    def called(payload):
        raise RuntimeError(payload)
    loop = asyncio.get_running_loop()
    loop.call_soon(called, words("callback"))
    await asyncio.wait({loop.create_task(dropped())})
    await leads(self)
relay.Relay._lead = lead
"""

REFUSED_PLAN = "refused"
REFUSES = f"""
    CREATE FUNCTION credits.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        RAISE EXCEPTION '{email("trigger")} in %', NEW USING ERRCODE = '23514', DETAIL = '{email("trigger")}',
            HINT = '{email("trigger")}', CONSTRAINT = 'no_such_plan';
    END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON credits.plans FOR EACH ROW
        WHEN (NEW.plan_id = '{REFUSED_PLAN}') EXECUTE FUNCTION credits.refuse();
"""


def headers(event_type: str, event_id: str, **changed: str | bytes | None) -> Headers:
    """An envelope with a canary in all that is not read; one that is changed to `None` is left out."""
    good: dict[str, str | bytes | None] = {
        "ce_specversion": "1.0",
        "ce_id": event_id,
        "ce_source": "/canaries",
        "ce_type": event_type,
        "ce_time": (NOW - timedelta(hours=1)).isoformat(),
        "ce_subject": email("header"),
        "traceparent": traceparent(event_id),
        "tracestate": f"canary={email('tracestate')}",
        f"ce_{email('header-name')}": "",
        email("header-name"): email("header"),
    }
    told = {
        name: value for name, value in (good | {f"ce_{n}": v for n, v in changed.items()}).items() if value is not None
    }
    return [(name, value if isinstance(value, bytes) else value.encode()) for name, value in told.items()]


def traceparent(event_id: str) -> str:
    """A trace, sampled or not, of a later version than is known, which may say more; or something else."""
    sampled = {"g-1": "01", "x-1": "00", "declined": "00"}.get(event_id)
    return f"01-{'1' * 32}-{'2' * 16}-{sampled}-{email('trace')}" if sampled else email("traceparent")


def message(event_type: str, event_id: str, fields: dict[str, Any], **changed: str | bytes | None) -> Message:
    """A message with a canary in fields that are not known."""
    unknown = {"email": email("field"), email("field-name"): 1, "person": {"emails": [email("nested")]}}
    return event_type, json.dumps(fields | unknown).encode(), headers(event_type, event_id, **changed)


def of(event_type: str, event_id: str, account: str, prospect: str = "p-1", **fields: Any) -> Message:
    return message(event_type, event_id, {"account_id": account, "prospect_id": prospect, **fields})


def plan(event_id: str, account: str, **fields: Any) -> Message:
    plan_data = {"account_id": account, "plan_id": "pro", "monthly_credits": 1, **fields}
    return message("plan-changed", event_id, plan_data)


def decided() -> Iterable[Message]:
    """Each incoming topic once, and each fate that is no failure."""
    yield plan("plan", "acme")
    yield of("prospect-generated", "g-1", "acme", campaign_id=email("campaign"))
    yield of("prospect-exported", "x-1", "acme", "p-2")
    yield of("prospect-generated", "declined", "acme", "p-3", campaign_id=email("campaign"))
    yield of("prospect-imported", "i-1", "acme", "p-4")
    yield of("prospect-transferred", "t-1", "acme", from_campaign_id=email("from"), to_campaign_id=email("to"))
    yield of("prospect-stage-changed", "s-1", "acme", stage=email("stage"))
    yield of("prospect-stage-changed", "s-2", "acme", stage="wrong-email")
    yield of("email-bounced", "b-1", "acme", bounce_type="hard")
    yield of("prospect-deleted", "d-1", "acme", "p-4")
    yield message("credits-purchased", "c-1", {"account_id": "acme", "purchase_id": "buy", "credits": 1})
    yield of("prospect-generated", "parked", "waiting")
    yield of("prospect-generated", "g-1", "acme")
    structured = {
        "specversion": "1.0",
        "id": "structured",
        "source": "/canaries",
        "type": "prospect-generated",
        "time": (NOW - timedelta(minutes=50)).isoformat(),
        "subject": email("attribute"),
        "data": {"account_id": "acme", "prospect_id": "p-5", "email": email("structured")},
    }
    yield "prospect-generated", json.dumps(structured).encode(), [("content-type", b"application/cloudevents+json")]


def refused() -> Iterable[Message]:
    """What can be read, and is refused for what it says, by the database, or by a defect."""
    yield of("prospect-generated", "g-1", "acme", "p-another")
    yield message(
        "prospect-generated", "future", {"account_id": "acme", "prospect_id": "p"}, time="2099-01-01T00:00:00Z"
    )
    yield message("prospect-generated", "past", {"account_id": "acme", "prospect_id": "p"}, time="1960-01-01T00:00:00Z")
    yield message("prospect-generated", "own", {"account_id": "acme", "prospect_id": "p"}, source="/credit-service")
    yield plan("refused", "acme", plan_id=REFUSED_PLAN)
    yield of("prospect-generated", "defect", "defective")


def unreadable() -> Iterable[Message]:
    """What cannot be read, with the canary where it cannot."""
    generated, plans = "prospect-generated", "plan-changed"
    yield generated, f'{{"account_id": "{email("broken")}'.encode(), headers(generated, "u-1")
    yield generated, email("text").encode(), headers(generated, "u-2")
    yield plans, f'{{"account_id": "{email("nan")}", "monthly_credits": NaN}}'.encode(), headers(plans, "u-3")
    yield generated, f'{{"account_id": "{email("utf")}\xff"}}'.encode("latin-1"), headers(generated, "u-4")
    yield of(generated, "u-5", email("long") * 6)
    yield of(generated, "u-6", f"{email('control')}\0")
    yield of(generated, "u-7", "acme", prospect=[email("list")])  # type: ignore[arg-type]
    for field in ("monthly_credits", "seats", "effective_at", "billing_anchor_at", "time_zone"):
        yield plan(f"u-{field}", "acme", **{field: email(field)})
    yield of("email-bounced", "u-8", "acme", bounce_type=email("bounce"))
    yield message("credits-purchased", "u-9", {"account_id": "acme", "purchase_id": "b", "credits": email("credits")})
    for name in ("time", "type", "specversion"):
        yield message(generated, "u-10", {"account_id": "acme", "prospect_id": "p"}, **{name: email(name)})
    yield message(generated, "u-11", {"account_id": "acme", "prospect_id": "p"}, id=email("id") * 6)
    yield message(generated, "u-12", {"account_id": "acme", "prospect_id": "p"}, source=f"{email('source')}\1")
    yield message(generated, "u-13", {"account_id": "acme", "prospect_id": "p"}, id=f"{BIRD}\xff".encode("latin-1"))
    broken = json.dumps({"specversion": "1.0", "id": email("structured") * 6, "data": email("data")}).encode()
    yield "prospect-exported", broken, [("content-type", b"application/cloudevents+json")]
    yield "prospect-exported", broken, [("content-type", f"application/cloudevents+{email('content')}".encode())]


def a_row_of_unreadable() -> Iterable[Message]:
    for n in range(UNREADABLE_IN_A_ROW_MAX):
        yield "prospect-deleted", email("poison").encode(), headers("prospect-deleted", f"r-{n}")


async def send(upstream: Upstream, messages: Iterable[Message]) -> None:
    for topic, value, with_headers in messages:
        await upstream.send_raw(topic, value, with_headers, key=email("key").encode())


@asynccontextmanager
async def role(database_url: str, name: str) -> AsyncIterator[str]:
    """The database's address for a user whose password is a canary."""
    password = secret("password")
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(f"CREATE ROLE {name} SUPERUSER LOGIN PASSWORD '{password}'")
        await connection.execute(REFUSES)
        at = urlsplit(database_url)
        yield at._replace(netloc=f"{name}:{password}@{at.netloc.rpartition('@')[2]}").geturl()
        await connection.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{name}'")
    finally:
        await connection.execute(f"DROP ROLE IF EXISTS {name}")
        await connection.close()


def by_a_file(url: str, folder: Path) -> dict[str, str]:
    """The same for the reader, whose password is in a file instead."""
    at = urlsplit(url)
    file = folder / "password"
    file.write_text(at.password or "")
    without = at._replace(netloc=f"{at.username}@{at.netloc.rpartition('@')[2]}").geturl()
    return {"read_database_url": without, "read_database_password_file": str(file)}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


async def asked(service: ServiceProcess) -> dict[str, str]:
    """All that it answers over HTTP, to what is well and to what is not."""
    bird = quote(email("path"))
    api = (
        "/v1/accounts/acme", "/v1/accounts/acme/entries", "/v1/accounts/acme/entries",
        "/v1/accounts/acme/decisions?source=/canaries&id=g-1", f"/v1/accounts/{bird}", f"/v1/accounts/{bird * 6}",
        f"/v1/accounts/{bird}%00/entries", f"/v1/accounts/acme/entries?after={bird}", f"/{bird}",
        f"/v1/accounts/acme/entries?limit={bird}&{bird}={bird}", f"/v1/accounts/acme/decisions?source={bird}&id={bird}",
        f"/v1/accounts/acme/decisions?source={bird * 6}",
    )  # fmt: skip
    health = ("/livez", "/readyz", "/metrics", f"/{bird}", f"/metrics?{bird}={bird}")
    given = {
        "Connection": "close",
        "Authorization": f"Bearer {TOKEN}",
        "Cookie": email("cookie"),
        "X-Request-Id": email("request-id"),
    }
    answers = {}
    wrong = {"Authorization": f"Bearer {TOKEN[:-1]}y"}
    async with http_client(headers=given, timeout=patience(60)) as client:
        for port, paths in ((service.http_port, api), (service.health_port, health)):
            for n, path in enumerate(paths):
                for method, added in (("GET", {}), ("POST", {}), ("GET", wrong)):
                    answer = await client.request(method, f"http://127.0.0.1:{port}{path}", headers=added)
                    what = f"{method} {n} {path.replace(BIRD, '…')} {len(added)}"
                    answers[what] = f"{answer.status_code} {answer.headers}\n{answer.text}"
    return answers


async def server_log(database_url: str) -> str:
    """What the database itself has logged, where that is a file of this machine."""
    connection = await asyncpg.connect(database_url)
    try:
        folder = Path(await connection.fetchval("SHOW data_directory"))
    finally:
        await connection.close()
    log = folder.parent / "postgres.log"
    return log.read_text(errors="replace") if log.exists() else ""


def published(observed: Observed) -> dict[str, str]:
    return {
        f"topic {topic}, {message.place}": f"{message.key!r} {message.value!r} {message.headers}"
        for topic in (CHANGES, DECLINES)
        for message in observed.outgoing[topic]
    }


async def test_nothing_of_a_message_comes_out_but_in_dead_letters(
    deployment: Deployment, topic_prefix: str, collector: Collector, tmp_path: Path
) -> None:
    await deployment.make_topics(partitions=1)
    oracle = deployment.oracle()
    async with (
        role(deployment.database_url, f"{topic_prefix.rstrip('-')}_canary") as url,
        deployment.upstream() as upstream,
    ):
        await send(upstream, decided())
        service = await deployment.start(
            faults=FAULTS,
            database_url=url,
            **by_a_file(url, tmp_path),
            log_level="debug",
            unreadable_in_a_row_max=str(UNREADABLE_IN_A_ROW_MAX),
            http_tokens=json.dumps([TOKEN_KEPT]),
            otlp_endpoint=collector.url,
        )
        await oracle.drained()
        await send(upstream, refused())
        await send(upstream, unreadable())
        await oracle.drained()
        await send(upstream, a_row_of_unreadable())

        async def is_paused() -> bool:
            return "prospect-deleted" in (await service.degraded()).get("topics", "")

        await eventually(is_paused, what="a topic paused")
        answers = await asked(service)
        observed = await oracle.observe()
        # What the database said while it was away, and again while it ends.
        connection = await asyncpg.connect(deployment.database_url)
        await connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename LIKE '%_canary'")
        await connection.close()
        assert await service.terminate() == 0
        said = await asyncio.to_thread(commands, url, deployment, tmp_path)
        rows = await tables(deployment.database_url, but=["dead_letters"])

    letters = {str(row["offset"]): f"{row['value']!r} {row['key']!r} {row['headers']}" for row in observed.dead_letters}
    assert len(flown(letters)) >= len(letters), "the search itself finds them where they may be"
    traces = "\n".join(map(str, collector.spans))
    sinks = {"log": service.said(), "traces": traces, **answers, **published(observed), **rows, **said}
    assert flown(sinks) == []
    assert [name for name, content in sinks.items() if TOKEN_HASH in content] == []
    # The trigger's own words are not the service's.
    database = await server_log(deployment.database_url)
    assert flown({"the database's log": database}, but=["trigger"]) == []
    assert not database or email("trigger") in database
    assert_all_ways_were_gone(service, observed, answers)
    assert all(word in traces for word in ("credits batch", "credits publish", "Undecidable"))
    changes = [message.header("traceparent") or "" for message in observed.outgoing[CHANGES]]
    assert any(trace.startswith(f"00-{'1' * 32}-{'2' * 16}-00") for trace in changes), "one that is not sampled"


# As it starts, it fails in words that have a password.
FAULT_AT_THE_START = """
from credit_service.bootstrap import serve
def build(settings, *_):
    raise ValueError(settings.database_url.get_secret_value())
serve.build = build
"""


async def test_no_password_comes_out_however_the_start_fails(deployment: Deployment, tmp_path: Path) -> None:
    right = urlsplit(deployment.database_url)
    wrong = right._replace(netloc=f"postgres:{secret('wrong')}@{right.netloc.rpartition('@')[2]}").geturl()
    nowhere = f"postgresql://u:{secret('nowhere')}@127.0.0.1:1/credits"
    not_for_dbmate = f"postgresql://u:{{{secret('before')}@127.0.0.1:1/credits?password={secret('after')}"
    # Our broker takes no logins.
    login = {
        "kafka_security_protocol": "SASL_PLAINTEXT",
        "kafka_sasl_username": "service",
        "kafka_sasl_password": secret("login"),
    }
    for_commands = {"kafka_bootstrap_servers": deployment.kafka, "topic_prefix": deployment.prefix}

    def command(line: str, **settings: str) -> str:
        done = run_credits(*line.split(), folder=tmp_path, **{**for_commands, **settings})
        assert done.returncode in (1, 2)
        return done.stdout + done.stderr

    await deployment.make_topics(partitions=1)
    crashes = await deployment.start(faults=FAULT_AT_THE_START, database_url=wrong)
    assert await crashes.ended() == 1
    by_database = await deployment.start(database_url=wrong, log_level="debug")
    by_kafka = await deployment.start(log_format="console", log_level="debug", **login)
    said = {
        "migrate": await asyncio.to_thread(command, "migrate", database_url=not_for_dbmate),
        "doctor": await asyncio.to_thread(command, "doctor", database_url=nowhere, **login),
        "resume": await asyncio.to_thread(command, "resume email-bounced", database_url=wrong),
        "trigger": await asyncio.to_thread(
            command, "trigger prospect-deleted acme --prospect p", database_url=nowhere, **login
        ),
    }
    for service, part in ((by_database, "database"), (by_kafka, "kafka")):

        async def says_so(service: ServiceProcess = service, part: str = part) -> bool:
            return part in await service.problems()

        await eventually(says_so, what=f"not ready for {part}")
        async with http_client(base_url=f"http://127.0.0.1:{service.health_port}", timeout=patience(60)) as client:
            said |= {f"{part}: {page}": (await client.get(page)).text for page in ("/readyz", "/metrics")}
        assert await service.terminate() == 0
        said[f"log of {part}"] = service.said()
    said["log of the crash"] = crashes.said()

    assert flown(said) == []
    assert "ValueError" in said["log of the crash"]
    assert "invalid userinfo" in said["migrate"]
    assert "the password is wrong" in said["log of database"] + said["resume"]
    assert "takes no logins" in said["log of kafka"] + said["trigger"]


@pytest.mark.xdist_group("secured-kafka")
def test_a_login_that_is_refused_is_told_without_its_password(secured_broker: SecuredBroker, tmp_path: Path) -> None:
    settings = secured_broker.settings(password=secret("refused"))

    done = run_credits("topics", "create", folder=tmp_path, database_url="postgresql://127.0.0.1:1/credits", **settings)

    assert done.returncode == 1
    assert "refuses the login" in done.stderr
    assert flown({"stdout": done.stdout, "stderr": done.stderr}) == []


@contextmanager
def kafka_logins(broker: SecuredBroker, folder: Path) -> Iterator[dict[str, tuple[dict[str, str], str]]]:
    """Each way to log in to Kafka that fails, with a canary in it, and words of what is told of it."""
    refuses, no_token = "refuses the token of CREDITS_KAFKA_", "no token for Kafka: CREDITS_KAFKA_"
    folders = [folder / f"program-{number}" for number in range(2)]
    for one in folders:
        one.mkdir()
    fails = f"import sys; print({secret('printed')!r}); sys.exit({secret('stderr')!r})"
    programs = [
        prints(folders[0], printed(secret("token"))),
        prints(folders[1], secret("no-token")),
        f"{shlex.quote(sys.executable)} {folder / 'fails.py'}",
    ]
    (folder / "fails.py").write_text(fails)
    with (
        giving_tokens(Endpoint(broker.files.signer, "canary", "another", "canary")) as refusing,
        giving_tokens(Endpoint(broker.files.signer, "canary", secret("client"), "canary")) as giving,
    ):
        # What an endpoint says of a client that it refuses has the client's secret in it.
        giving.answer = (200, json.dumps({"access_token": secret("given"), "expires_in": 60}).encode())
        yield {
            "PLAIN": (
                broker.settings(password=secret("plain")) | {"kafka_sasl_mechanism": "PLAIN"},
                "refuses the login",
            ),
            "client": (
                broker.token_settings(**refusing.settings(kafka_oauth_client_secret=secret("client"))),
                f"{no_token}OAUTH_TOKEN_URL answers 401, invalid_client",
            ),
            "given": (broker.token_settings(**giving.settings()), f"{refuses}OAUTH_TOKEN_URL"),
            "token": (broker.token_settings(kafka_token_command=programs[0]), f"{refuses}TOKEN_COMMAND"),
            "no token": (broker.token_settings(kafka_token_command=programs[1]), f"{no_token}TOKEN_COMMAND does not"),
            "fails": (broker.token_settings(kafka_token_command=programs[2]), "ends with exit code 1"),
        }


@pytest.mark.xdist_group("secured-kafka")
def test_nothing_that_one_logs_in_to_kafka_with_comes_out_of_a_command(
    secured_broker: SecuredBroker, tmp_path: Path
) -> None:
    nowhere = {"database_url": "postgresql://127.0.0.1:1/credits"}
    with kafka_logins(secured_broker, tmp_path) as logins:
        for way, (login, told) in logins.items():
            for command in ("topics create", "trigger prospect-deleted acme --prospect p", "doctor --output json"):
                done = run_credits(*command.split(), folder=tmp_path, **nowhere, **login)
                assert done.returncode == 1, (way, done)
                assert told in done.stderr + done.stdout, (way, done)
                assert flown({way: done.stdout + done.stderr}) == []


@pytest.mark.xdist_group("secured-kafka")
async def test_nothing_that_one_logs_in_to_kafka_with_comes_out_of_the_service(
    deployment: Deployment, secured_broker: SecuredBroker, collector: Collector, tmp_path: Path
) -> None:
    with kafka_logins(secured_broker, tmp_path) as logins:
        for way, (login, told) in logins.items():
            service = await deployment.start(log_level="debug", otlp_endpoint=collector.url, **login)

            async def says_so(service: ServiceProcess = service, told: str = told) -> bool:
                return told in (await service.problems()).get("kafka", "")

            await eventually(says_so, what=f"{way}: {told}")
            said = {}
            async with http_client(base_url=f"http://127.0.0.1:{service.health_port}", timeout=patience(60)) as client:
                said = {page: (await client.get(page)).text for page in ("/readyz", "/metrics")}
            processes = [*psutil.Process(service.pid).children(recursive=True), psutil.Process(service.pid)]
            said["process list"] = "\n".join(" ".join(process.cmdline()) for process in processes)
            assert await service.terminate() == 0
            assert flown({"log": service.said(), "traces": "\n".join(map(str, collector.spans)), **said}) == []


def commands(url: str, deployment: Deployment, folder: Path) -> dict[str, str]:
    """What is said by those that look at everything, and of a file with nothing but bad rows."""
    columns = ("account_id", "plan_id", "monthly_credits", "billing_anchor_at", "time_zone", "remaining_credits")
    row = {"record": "account", **dict.fromkeys(columns, f"{email('row')}\0" * 6)}
    rows = [row | {"record": email("record")}, row, {"record": "prospect", "account_id": "acme", email("column"): 1}]
    lines = [*map(json.dumps, rows), email("line"), f'{{"record": "{email("broken-line")}']
    (folder / "customers.jsonl").write_text("\n".join(lines))
    settings = {
        "database_url": url,
        "kafka_bootstrap_servers": deployment.kafka,
        "topic_prefix": deployment.prefix,
        "kafka_group_id": deployment.group,
    }
    said = {}
    for line in (
        "open customers.jsonl",
        "reconcile --report report.json",
        "replay --dry-run --each",
        "dead-letters list --each --output json",
        "explain acme --full",
    ):
        done = run_credits(*line.split(), folder=folder, **settings)
        assert done.returncode in (0, 1, 2), done.stderr
        said[f"credits {line}"] = done.stdout + done.stderr
    return said | {"the report": (folder / "report.json").read_text()}


def assert_all_ways_were_gone(service: ServiceProcess, observed: Observed, answers: dict[str, str]) -> None:
    reasons = {row["reason"] for row in observed.dead_letters}
    assert reasons >= {
        *("not-json", "bad-data", "bad-envelope", "bad-header", "unknown-type"),
        *("conflict", "from-the-future", "before-1970", "reserved-source", "refused-by-database", "undecidable"),
    }
    assert {row["type"] for row in observed.decisions} >= {*INCOMING} - {"prospect-deleted"}
    assert len(observed.outgoing[DECLINES]) == 1
    said = service.said()
    for line in (
        *("records could not be buffered", "turn failed", "relay failed", "batch refused", "topic paused"),
        *("error in the event loop", "Exception in ASGI application"),
    ):
        assert line in said, line
    assert any("the service failed to answer" in answer for answer in answers.values())
    assert {answer[:3] for answer in answers.values()} >= {"200", "400", "401", "404", "405", "500"}
