"""The commands of the documents run, in the order in which a reader meets them."""

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

import httpx
import pytest

from credit_service.settings import PREFIX
from support.credits import CREDITS, run_credits
from support.documents import ROOT, commands, pages, text
from support.patience import patience
from support.ports import next_port
from support.topics import remove_topics, topics_of
from support.wait import eventually

README = "README.md"
# The pages whose commands build on each other, in the order of a reader.
IN_ORDER = [README, *(f"service/docs/{page}.md" for page in ("EXPLAIN", "READ_API", "OPERATIONS"))]
OTHERS = ["service/docs/DEVELOPMENT.md"]
COMMANDS = [command for page in IN_ORDER for command in commands(page)]
OF_MAKE = sorted(
    {command for page in [*IN_ORDER, *OTHERS] for command in commands(page) if command.startswith("make ")}
)
OF_CREDITS = [command for command in COMMANDS if not command.startswith(("make ", "export PATH"))]
NAMED = sorted(
    {
        command
        for page in pages()
        if page.startswith(("README", "service/", "deploy/"))
        for command in re.findall(r"`credits ([a-z-]+(?: [a-z][a-z-]*)?)", text(page))
    }
)
SECONDS_MAX = 60


@pytest.mark.parametrize("page", [*IN_ORDER, *OTHERS])
def test_there_are_no_other_code_blocks(page: str) -> None:
    assert text(page).count("```") == 2 * text(page).count("```console\n")
    assert all(command.split()[0] in ("make", "credits", "curl", "export") for command in commands(page))


def test_the_package_shows_the_first_commands_of_the_readme() -> None:
    shown = [command for command in commands("service/README.md") if not command.startswith("pip ")]

    assert shown == OF_CREDITS[: OF_CREDITS.index("credits serve") + 1]


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


@pytest.mark.parametrize("command", NAMED)
def test_credits_knows(command: str, tmp_path: Path) -> None:
    for words in {tuple(command.split()), tuple(command.split()[:1])}:
        helped = run_credits(*words, "--help", folder=tmp_path)

        assert helped.returncode == 0, helped.stderr
