"""Fixtures of all tests."""

from __future__ import annotations

import os
import secrets
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.nodeid import NodeId
from hypothesis import HealthCheck, settings

from credit_local_stack import NoDockerError, StackError
from credit_local_stack.servers import CHOICE
from credit_service.postgres.session import connect
from support.secured import SecuredBroker, make_files, secured_stack
from support.service import Deployment
from support.stack import fresh_database, make_template, run_servers, running_servers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import asyncpg

    from credit_local_stack import Addresses

pytest_plugins = ["support.run_ends"]

_TESTS = Path(__file__).parent
_WITHOUT_SERVERS = ("unit", "property", "contract")
_SERVERS = pytest.StashKey[ExitStack]()
_WHY_NO_SERVERS = "TEST_RUN_WHY_NO_SERVERS"

# Repeatable in CI; elsewhere a failure prints what reproduces it. A test takes what is set when it is read: so, here.
# No word of the clock: what is slow may be so since the machine is.
_UNTIMED: Any = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], "print_blob": True}
settings.register_profile("ci", derandomize=True, **_UNTIMED)
settings.register_profile("local", **_UNTIMED)
settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_configure(config: pytest.Config) -> None:
    """With xdist, start the servers before the workers, which can then all use them."""
    config.addinivalue_line("markers", "chaos: kills what it tests, over and over")
    config.addinivalue_line("markers", "backlog: works off fourteen months of thousands of accounts")
    config.addinivalue_line("markers", "footprint: measures memory or bytes, for `make footprint`")
    config.addinivalue_line("markers", "image: runs the steps of the image, for `make image`")
    config.addinivalue_line("markers", "slow: kills servers, has its own, or waits for long, for `make test-slow`")
    config.addinivalue_line("markers", "stack: starts and ends the local stack itself, for `make local-stack`")
    config.addinivalue_line("markers", "local_stack: starts and kills a local stack of its own")
    config.stash[_SERVERS] = ExitStack()
    distributed = config.getoption("dist", "no") != "no"
    if distributed and not config.option.collectonly and not _needs_no_servers(config):
        try:
            config.stash[_SERVERS].enter_context(run_servers())
        except NoDockerError as error:
            os.environ[_WHY_NO_SERVERS] = str(error)
        except StackError as error:
            raise pytest.UsageError(str(error)) from error


def pytest_report_header() -> str | None:
    """Report that only tests without servers run."""
    why = os.environ.get(_WHY_NO_SERVERS)
    return f"every test on servers is skipped: {why}" if why else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests of the local stack when the servers are containers."""
    for item in items:
        # pytest-xdist 3.8 writes a test's group where pytest 9.2 does not read it any more: each went to any worker.
        if (grouped := getattr(item, "_nodeid", None)) is not None:
            item._id = NodeId.parse(grouped)
    if os.environ.get(CHOICE) == "testcontainers":
        for item in items:
            if item.get_closest_marker("local_stack"):
                item.add_marker(pytest.mark.skip(f"needs a local stack of its own, and {CHOICE} is testcontainers"))


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the servers that this process has started."""
    os.environ.pop(_WHY_NO_SERVERS, None)
    config.stash[_SERVERS].close()


def _needs_no_servers(config: pytest.Config) -> bool:
    folders = [_TESTS / name for name in _WITHOUT_SERVERS]
    paths = [(config.invocation_params.dir / arg.partition("::")[0]).resolve() for arg in config.args]
    return all(any(path.is_relative_to(folder) for folder in folders) for path in paths)


@pytest.fixture(scope="session")
def stack(pytestconfig: pytest.Config) -> Addresses:
    """Postgres and Kafka of this run; a test that breaks them starts a `credit_local_stack.Stack` of its own."""
    if _WHY_NO_SERVERS in os.environ:
        pytest.skip(os.environ[_WHY_NO_SERVERS])
    try:
        return running_servers() or pytestconfig.stash[_SERVERS].enter_context(run_servers())
    except NoDockerError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def database_template(stack: Addresses) -> str:
    return make_template(stack.database_url)


@pytest.fixture
def database_url(stack: Addresses, database_template: str) -> Iterator[str]:
    """A migrated database for this test."""
    with fresh_database(stack.database_url, database_template) as url:
        yield url


@pytest.fixture(scope="module")
def shared_database_url(stack: Addresses, database_template: str) -> Iterator[str]:
    """A migrated database that the tests of a module share: each leaves it unchanged."""
    with fresh_database(stack.database_url, database_template) as url:
        yield url


@pytest.fixture
async def undone(shared_database_url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A connection in a transaction that is rolled back after the test."""
    connection = await connect(shared_database_url)
    try:
        transaction = connection.transaction()
        await transaction.start()
        yield connection
        await transaction.rollback()
    finally:
        await connection.close()


@pytest.fixture
def kafka(stack: Addresses) -> str:
    """The address of the broker."""
    return stack.bootstrap_servers


@pytest.fixture(scope="session")
def secured_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    """A broker with TLS, logins and access lists; its tests share the group `secured-kafka`, so that there is one."""
    files = make_files(tmp_path_factory.mktemp("secured-kafka"))
    with secured_stack(files) as stack:
        yield SecuredBroker(stack, files)


@pytest.fixture
def topic_prefix() -> str:
    """A prefix that no other test's topics have."""
    return f"t{secrets.token_hex(4)}-"


@pytest.fixture
async def deployment(database_url: str, kafka: str, topic_prefix: str, tmp_path: Path) -> AsyncIterator[Deployment]:
    """The deployment in which a test runs the service as processes."""
    async with Deployment(database_url, kafka, topic_prefix, tmp_path) as deployment:
        yield deployment
