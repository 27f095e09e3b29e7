"""The same servers from Docker; and what becomes of a test run where no daemon answers."""

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from credit_local_stack import NoDockerError, servers
from support.patience import patience

ROOT = Path(__file__).parents[3]
NOBODY = {"DOCKER_HOST": "tcp://127.0.0.1:1"}
CHOICE = {"CREDITS_STACK": "testcontainers"}
REASON = "CREDITS_STACK=testcontainers needs a Docker daemon, and none answers"


def test_without_docker_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", NOBODY["DOCKER_HOST"])

    with pytest.raises(NoDockerError, match=REASON), servers(lambda _: None, environ=CHOICE):
        pass


@pytest.mark.slow
def test_a_test_run_without_docker_skips_what_needs_servers_and_says_why() -> None:
    ours = ("CREDITS_", "TEST_RUN_", "PYTEST_")
    of_its_own = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    tests = ["tests/integration/ledger/test_ids.py", "tests/chaos/test_outages.py", "tests/unit/test_wait.py"]

    chosen = ("-n", "1", "--dist", "loadgroup", "-v", "-p", "no:cacheprovider", "-p", "no:schemathesis", "-m", "")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *chosen, *tests],
        cwd=ROOT,
        env=of_its_own | NOBODY | CHOICE,
        capture_output=True,
        text=True,
        check=False,
        timeout=patience(120),
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout.splitlines()[-1]
    skipped = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
    assert any(REASON in line for line in skipped), done.stdout
    assert any("needs a local stack of its own, and CREDITS_STACK is testcontainers" in line for line in skipped)
    assert "@own_stack" in done.stdout, "tests of a group go to one worker"
    assert "Traceback" not in done.stdout + done.stderr


async def test_they_are_what_the_local_stack_is() -> None:
    with ExitStack() as started:
        try:
            addresses = started.enter_context(servers(lambda _: None, environ=CHOICE)).addresses
        except NoDockerError as error:
            pytest.skip(str(error))
        connection = await asyncpg.connect(addresses.database_url)
        try:
            assert int(await connection.fetchval("SHOW server_version_num")) // 10000 == 18
            assert await connection.fetchval("SELECT datlocprovider FROM pg_database WHERE datname = 'credits'") == b"b"
        finally:
            await connection.close()
        admin = AIOKafkaAdminClient(bootstrap_servers=addresses.bootstrap_servers)
        await admin.start()
        try:
            assert not await admin.list_topics()
        finally:
            await admin.close()
