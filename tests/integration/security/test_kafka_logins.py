"""The whole service with each kind of login, and its messages and actions when a login changes or fails."""

from __future__ import annotations

import asyncio
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from credit_service.kafka.connect.acls import required_acls
from support.credits import run_credits
from support.patience import patience
from support.plain_http import http_client
from support.secured import SERVICE, SERVICE_PASSWORD, SecuredBroker
from support.secured_service import connection_of, generated, plan, published, says, secured_deployment
from support.tokens_of_kafka import Endpoint, giving_tokens, printed, prints
from support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from support.service import Deployment, ServiceProcess

# One loop: aiokafka does not wait for the end of connections that were refused.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("secured-kafka"), pytest.mark.asyncio(loop_scope="module")]

CLIENT_SECRET, NEW_SECRET = "client-hunter2", "client-hunter3"
# Brokers are asked ten times a second in place of every ten seconds: each time by a new connection.
LOOKS_OFTEN = (
    "from credit_service.kafka.access import monitor; monitor.ASK_EVERY_SECONDS = monitor.ASK_AGAIN_SECONDS_MAX = 0.1"
)
# After a second or two in place of four fifths of an hour.
TOKENS_ARE_USED_SHORTLY = "from credit_service.kafka.connect import tokens; tokens.USED_OF_LIFE = 0.0004"


@pytest_asyncio.fixture(loop_scope="module")
async def secured(
    database_url: str, secured_broker: SecuredBroker, topic_prefix: str, tmp_path: Path
) -> AsyncIterator[Deployment]:
    """A deployment whose login may do all that the service, `topics create` and `doctor` need."""
    async with secured_deployment(database_url, secured_broker, topic_prefix, tmp_path) as deployment:
        connection = connection_of(secured_broker, deployment, SERVICE, SERVICE_PASSWORD)
        needed = [right for use in ("serve", "topics-create", "doctor") for right in required_acls(connection, use)]
        await secured_broker.allow(SERVICE, needed)
        yield deployment
        await secured_broker.refuse(SERVICE, needed)


@contextmanager
def logged_in_by(way: str, broker: SecuredBroker, folder: Path) -> Iterator[dict[str, str]]:
    """The settings of one way to log in; `way` may say where secrets stand."""
    with giving_tokens(Endpoint(broker.files.signer, "the client", CLIENT_SECRET, SERVICE, scope="kafka")) as endpoint:
        match way:
            case "PLAIN":
                yield broker.settings() | {"kafka_sasl_mechanism": "PLAIN"}
            case "OpenID Connect":
                chosen = endpoint.settings(kafka_oauth_scope="kafka", kafka_oauth_extensions="logicalCluster=lkc-1")
                yield broker.token_settings(**chosen)
            case "command":
                command = prints(folder, printed(broker.files.signer.token(SERVICE)))
                yield broker.token_settings(kafka_token_command=command)


@pytest.mark.parametrize("way", ["PLAIN", "OpenID Connect", "command"])
async def test_the_service_and_its_commands_run_by_each_login(
    way: str, secured: Deployment, secured_broker: SecuredBroker, tmp_path: Path
) -> None:
    with logged_in_by(way, secured_broker, tmp_path) as login:
        secured.settings = login
        service = await (await secured.start(log_level="debug")).ready()
        async with secured.upstream() as upstream:
            await upstream.send([plan(), generated(1), generated(2)])
        await published(service, 3)
        common = {"database_url": secured.database_url, "kafka_group_id": secured.group, "topic_prefix": secured.prefix}
        created, doctor = await asyncio.gather(
            *(
                asyncio.to_thread(run_credits, *command.split(), folder=secured.folder, **common, **login)
                for command in ("topics create", "doctor --output json")
            )
        )
        shown = await pages(service)
        assert await service.terminate() == 0
    assert created.returncode == 0, created
    states = {check["name"]: check["state"] for check in json.loads(doctor.stdout)["checks"]}
    assert (states["kafka"], states["access"], states["lag"]) == ("ok", "ok", "ok"), doctor
    warnings = [line for line in service.said().splitlines() if '"level": "warning"' in line or '"error"' in line]
    # aiokafka's own word on PLAIN without TLS is not said: there is TLS.
    assert warnings == []
    said = service.said() + shown + created.stdout + created.stderr + doctor.stdout + doctor.stderr
    assert [secret for secret in (SERVICE_PASSWORD, CLIENT_SECRET, "eyJ") if secret in said] == []


async def pages(service: ServiceProcess) -> str:
    async with http_client(base_url=f"http://127.0.0.1:{service.health_port}", timeout=patience(30)) as client:
        return "".join([(await client.get(page)).text for page in ("/readyz", "/metrics", "/livez")])


async def decides(secured: Deployment, service: ServiceProcess, number: int, events: int) -> None:
    async with secured.upstream() as upstream:
        await upstream.send([generated(number)])
    await published(service, events)


async def test_a_client_of_openid_connect_goes_on_with_new_tokens_and_tells_what_keeps_it_from_them(
    secured: Deployment, secured_broker: SecuredBroker, tmp_path: Path
) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "credits_kafka_oauth_client_secret").write_text(CLIENT_SECRET)
    told = "no token for Kafka: CREDITS_KAFKA_OAUTH_TOKEN_URL "
    with giving_tokens(Endpoint(secured_broker.files.signer, "client", NEW_SECRET, SERVICE)) as endpoint:
        settings = endpoint.settings()
        del settings["kafka_oauth_client_secret"]
        secured.settings = secured_broker.token_settings(secrets_dir=str(secrets), **settings)
        service = await secured.start(faults=f"{LOOKS_OFTEN}; {TOKENS_ARE_USED_SHORTLY}")
        await says(service, told + "answers 401, invalid_client: see CREDITS_KAFKA_OAUTH_CLIENT_ID and CREDITS_KAFKA_O")
        endpoint.answer = (503, NEW_SECRET.encode())
        await says(service, told + "answers 503")
        endpoint.answer = None
        (secrets / "credits_kafka_oauth_client_secret").write_text(f"{NEW_SECRET}\n")
        await service.ready()
        async with secured.upstream() as upstream:
            await upstream.send([plan()])
        await published(service, 1)
        begun = len(endpoint.given)
        await eventually(lambda: len(endpoint.given) >= begun + 2, what="tokens made anew, before the old ones end")

        def failures() -> list[str]:
            return [line["problem"].removeprefix(told)[:11] for line in service.logged("no token for Kafka")]

        # What is in hand goes on while no other can be had.
        endpoint.answer = (500, NEW_SECRET.encode())
        await eventually(lambda: failures()[-1] == "answers 500", what="it is told")
        await decides(secured, service, 1, 2)
        assert await service.problems() == {}
        endpoint.answer = None

        endpoint.audience = "something else"
        at = secured_broker.stack.bootstrap_servers
        await says(service, f"Kafka at {at} refuses the token of CREDITS_KAFKA_OAUTH_TOKEN_URL: see CREDITS_KAFKA_OA")
        endpoint.audience = "kafka"
        await service.ready()
        await decides(secured, service, 2, 3)
        assert await service.terminate() == 0
    assert [secret for secret in ("client-hunter", *endpoint.given) if secret in service.said()] == []
    assert failures() == ["answers 401", "answers 503", "answers 500"], "each is told once"


async def test_a_program_that_prints_no_good_token_is_told_until_it_does(
    secured: Deployment, secured_broker: SecuredBroker, tmp_path: Path
) -> None:
    signer = secured_broker.files.signer
    expired = signer.token(SERVICE, -60)
    command = prints(tmp_path, printed(expired))
    secured.settings = secured_broker.token_settings(kafka_token_command=command)
    service = await secured.start(faults=LOOKS_OFTEN)
    at = secured_broker.stack.bootstrap_servers
    await says(service, f"Kafka at {at} refuses the token of CREDITS_KAFKA_TOKEN_COMMAND: run it by hand to see which")
    prints(tmp_path, "nothing of JSON, but hunter2")
    await says(
        service, "no token for Kafka: CREDITS_KAFKA_TOKEN_COMMAND does not print JSON with token, and expires_at"
    )
    good = signer.token(SERVICE)
    prints(tmp_path, printed(good))
    await service.ready()
    shown = await pages(service)
    assert await service.terminate() == 0
    assert [secret for secret in ("hunter2", expired, good) if secret in service.said() + shown] == []


async def test_a_password_that_is_changed_in_the_broker_and_its_file_is_taken_up_without_a_restart(
    secured: Deployment, secured_broker: SecuredBroker, tmp_path: Path
) -> None:
    file = tmp_path / "secrets" / "credits_kafka_sasl_password"
    file.parent.mkdir()
    file.write_text(SERVICE_PASSWORD)
    settings = secured_broker.settings()
    del settings["kafka_sasl_password"]
    secured.settings = settings | {"secrets_dir": str(file.parent)}
    service = await (await secured.start(faults=LOOKS_OFTEN)).ready()
    async with secured.upstream() as upstream:
        await upstream.send([plan()])
    await published(service, 1)
    try:
        secured_broker.set_password(SERVICE, "service-hunter3")
        await says(service, f"refuses the login of {SERVICE} by SCRAM-SHA-512: see CREDITS_KAFKA_SASL_USERNAME")
        await decides(secured, service, 1, 2)
        # As an editor does it: for a moment there is nothing in it.
        file.write_text("")
        half_written = "a secret's file cannot be read, the secret stays as it was"
        await eventually(lambda: service.logged(half_written), what=half_written)
        file.write_text("service-hunter3")
        await service.ready()
        await decides(secured, service, 2, 3)
        assert await service.terminate() == 0
    finally:
        secured_broker.set_password(SERVICE, SERVICE_PASSWORD)
    assert [line["setting"] for line in service.logged("a secret has changed")] == ["CREDITS_KAFKA_SASL_PASSWORD"]
    assert "service-hunter" not in service.said()
