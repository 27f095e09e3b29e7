"""What the README says is so: its commands run, its tables are the code, its links lead somewhere."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from pydantic.fields import FieldInfo

from credit_contracts import DEAD_LETTER_TOPIC, INCOMING, OUTGOING_TOPICS
from credit_contracts.topics import PARTITIONS
from credit_local_stack.servers import CHOICE
from credit_service.application.processing.processor import REFUSALS
from credit_service.asyncapi.document import Deployed
from credit_service.domain.refund import LateRefund
from credit_service.http.accounts import account_routes
from credit_service.http.asyncapi import asyncapi_routes
from credit_service.http.health import health_routes
from credit_service.http.openapi import openapi_route
from credit_service.settings import PREFIX, SECRETS_DIR_VARIABLE, Settings
from support.credits import CREDITS, run_credits
from support.patience import VARIABLE, patience
from support.ports import next_port
from support.topics import remove_topics, topics_of
from support.wait import eventually

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DOCUMENTS = [
    "README.md",
    "deploy/POSTGRES_ACCESS.md",
    "deploy/KAFKA_ACCESS.md",
    "deploy/MANAGED_KAFKA.md",
    "deploy/MANAGED_POSTGRES.md",
    "CHANGELOG.md",
    "service/ARCHITECTURE.md",
]
COMMANDS = [
    line.removeprefix("$ ").partition("  #")[0].strip()
    for block in re.findall(r"^```console\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
]
OF_MAKE = sorted({command for command in COMMANDS if command.startswith("make ")})
OF_CREDITS = [command for command in COMMANDS if not command.startswith(("make ", "export PATH"))]
SECONDS_MAX = 60


def table(head: str) -> list[list[str]]:
    """The rows of the table whose head begins so, cell by cell."""
    lines = README.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {head}"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def code(cell: str) -> str:
    return cell.split("`")[1]


# --- the commands


def test_there_are_no_other_code_blocks() -> None:
    assert README.count("```") == 2 * README.count("```console\n")
    assert all(command.split()[0] in ("make", "credits", "curl", "export") for command in COMMANDS)


@pytest.mark.parametrize("command", OF_MAKE)
def test_make_knows(command: str) -> None:
    made = subprocess.run([*shlex.split(command), "--dry-run"], cwd=ROOT, capture_output=True, check=False)

    assert made.returncode == 0, made.stderr


@pytest.fixture
def environment(database_url: str, kafka: str, topic_prefix: str) -> Iterator[dict[str, str]]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    yield kept | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "CREDITS_DATABASE_URL": database_url,
        "CREDITS_KAFKA_BOOTSTRAP_SERVERS": kafka,
        "CREDITS_KAFKA_GROUP_ID": f"{topic_prefix}readme",
        "CREDITS_TOPIC_PREFIX": topic_prefix,
        "CREDITS_HTTP_PORT": str(next_port()),
        "CREDITS_HEALTH_PORT": str(next_port()),
    }

    async def tidy() -> None:
        await remove_topics(kafka, await topics_of(kafka, topic_prefix))

    asyncio.run(tidy())


# What a command says once the events before it have been decided.
SAYS = {
    "credits account show acme": "499 credits",
    "credits tail --account acme --from-beginning --max 2": "500 -> 499",
    'curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8080/v1/accounts/acme': '"balance":499',
    "curl http://127.0.0.1:8080/openapi.json": '"openapi": "3.1.1"',
    "credits resume email-bounced": "was not paused",
}


NOTHING_TO_DO = {"credits resume": 1, "credits skip": 2}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_commands_run_in_the_order_in_which_they_stand(environment: dict[str, str], tmp_path: Path) -> None:
    assert set(SAYS) <= set(OF_CREDITS)
    serve = OF_CREDITS.index("credits serve")
    for command in OF_CREDITS[:serve]:
        until_it_works(command, environment, tmp_path)
    with serving(environment, tmp_path):
        for command in OF_CREDITS[serve + 1 :]:
            until_it_works(command, environment, tmp_path)


def until_it_works(command: str, environment: dict[str, str], folder: Path) -> None:
    """Runs it again while what it asks about is still on its way."""
    # What stands for something that went wrong, which it has not here.
    expected_code = next((code for name, code in NOTHING_TO_DO.items() if command.startswith(name)), 0)

    def works() -> bool:
        if command.startswith("curl "):
            done = _curl(command, environment)
        elif exported := re.fullmatch(r"export ([A-Z]+)=\$\((.+)\)", command):
            done = _run(exported[2], environment, folder)
            environment[exported[1]] = done.stdout.strip()
        else:
            done = _run(command, environment, folder)
        assert done.returncode == expected_code, (done.returncode, done.stdout, done.stderr)
        assert SAYS.get(command, "") in done.stdout, done.stdout
        return True

    asyncio.run(eventually(works, within_seconds=SECONDS_MAX, what=command))


def _run(command: str, environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """The command of this test's environment, forked: the installed script is `credits serve`."""
    program, *arguments = shlex.split(command)
    assert program == "credits"
    settings = {name: value for name, value in environment.items() if name.startswith(PREFIX)}
    return run_credits(
        *arguments, folder=folder, **{name.removeprefix(PREFIX).lower(): value for name, value in settings.items()}
    )


def _curl(command: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    *headers, url = shlex.split(command.replace("$TOKEN", environment.get("TOKEN", "")))[1:]
    url = url.replace(":8080/", f":{environment['CREDITS_HTTP_PORT']}/")
    url = url.replace(":8081/", f":{environment['CREDITS_HEALTH_PORT']}/")
    answer = httpx.get(url, headers=dict(header.split(": ", 1) for header in headers[1::2]), timeout=patience(5))
    return subprocess.CompletedProcess(command, 0 if answer.is_success else 1, answer.text, "")


@contextmanager
def serving(environment: dict[str, str], folder: Path) -> Iterator[None]:
    with (
        (folder / "serve.log").open("wb") as log,
        subprocess.Popen([CREDITS, "serve"], env=environment, cwd=folder, stdout=log, stderr=log) as service,
    ):
        try:
            ready = f"http://127.0.0.1:{environment['CREDITS_HEALTH_PORT']}/readyz"
            deadline = time.monotonic() + patience(SECONDS_MAX)
            while not _is_ready(ready):
                assert time.monotonic() < deadline, (folder / "serve.log").read_text()
                time.sleep(0.1)
            yield
            service.terminate()
            assert service.wait(patience(SECONDS_MAX)) == 0
        finally:
            service.kill()


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(url, timeout=patience(2)).is_success
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("command", sorted(set(re.findall(r"`credits ([a-z-]+(?: [a-z-]+)?)", README))))
def test_credits_knows(command: str, tmp_path: Path) -> None:
    for words in {tuple(command.split()), tuple(command.split()[:1])}:
        helped = run_credits(*words, "--help", folder=tmp_path)

        assert helped.returncode == 0, helped.stderr


# --- the tables


def test_the_settings_are_the_code() -> None:
    rows = table("setting | default")
    told = {code(row[0]): row[1] for row in rows}

    assert told.pop(SECRETS_DIR_VARIABLE)
    assert told == {f"{PREFIX}{name.upper()}": _default(field) for name, field in Settings.model_fields.items()}


def _default(field: FieldInfo) -> str:
    if field.default_factory_takes_validated_data:
        return "`CREDITS_DATABASE_URL`"
    default = field.get_default(call_default_factory=True)
    if isinstance(default, LateRefund):
        return f"`{default.kind}`"
    if default in ("", None, ()):
        return "none"
    return "needed" if repr(default) == "PydanticUndefined" else f"`{default}`"


def test_every_variable_that_is_named_is_a_setting() -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | {SECRETS_DIR_VARIABLE, CHOICE, VARIABLE}

    assert set(re.findall(rf"{PREFIX}[A-Z_]+", README)) <= known


def test_the_topics_are_the_code() -> None:
    goes_in = {code(row[0]): row[1] for row in table("what goes in (topic)")}

    assert goes_in == {name: ", ".join(model.producers) for name, model in INCOMING.items()}
    assert [code(row[0]) for row in table("what comes out (topic)")] == [*OUTGOING_TOPICS, DEAD_LETTER_TOPIC]
    assert f"partitions ({PARTITIONS})" in README


def test_the_reasons_of_dead_letters_are_the_code() -> None:
    told = {code(row[0]): row[1].partition(";")[0] for row in table("reason | when")}

    assert set(told) == {*REFUSALS, "refused-by-database", "undecidable"}
    assert {reason: told[reason] for reason in REFUSALS} == REFUSALS


DOMAIN = ROOT / "service/src/credit_service/domain"
WITHOUT_RULES = {"__init__.py", "command.py", "decision.py"}
"""Values alone."""


def names_linked(cell: str) -> list[str]:
    return re.findall(r"\[([^]]+)\]\(", cell)


def test_every_file_of_rules_is_in_the_table_of_rules() -> None:
    rules = [name for row in table("rule | where it lives") for name in names_linked(row[1])]

    assert set(rules) == {path.name for path in DOMAIN.glob("*.py")} - WITHOUT_RULES


def test_every_rule_lives_in_one_place_that_is_there() -> None:
    for rule, place, _ in table("rule | where it lives"):
        (name,) = names_linked(place)
        assert re.search(rf"^ *def {code(place)}\(", (DOMAIN / name).read_text(), re.MULTILINE), rule


def test_every_test_of_the_domain_holds_a_rule_and_every_rule_is_held() -> None:
    held_by = [names_linked(row[2]) for row in table("rule | where it lives")]
    tests = {path.name for path in (ROOT / "tests/unit/domain").glob("test_*.py")}

    assert all(held_by)
    assert tests <= {name for names in held_by for name in names}


def test_the_paths_are_the_code() -> None:
    nothing = cast("Any", None)
    api = [*account_routes(nothing, nothing), openapi_route(), *asyncapi_routes(Deployed())]
    routes = [*api, *health_routes(nothing, nothing, nothing)]

    assert [code(row[0]).partition("?")[0] for row in table("GET | answers")] == [route.path for route in routes]


@pytest.mark.parametrize("name", [*DOCUMENTS, "contracts/README.md", "deploy/runbook/README.md"])
def test_links_lead_somewhere(name: str) -> None:
    document = ROOT / name
    links = re.findall(r"\]\(([^)]+)\)", document.read_text())

    assert [link for link in links if "://" not in link and not leads_somewhere(document, link)] == []


def leads_somewhere(document: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = document.parent / path if path else document
    if not anchor or not target.is_file():
        return target.exists() and not anchor
    headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
    return anchor in [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_lines_are_not_too_long(name: str) -> None:
    lines = (ROOT / name).read_text().splitlines()

    assert [line for line in lines if len(line) > 121 and not line.startswith("|")] == []
