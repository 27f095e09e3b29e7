"""Fixtures of the runs under faults, and their summary."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from chaos.scene import Scene
from chaos.workload import SETTINGS
from credit_local_stack import Stack
from credit_service.postgres.migrate import migrate
from support.service import Deployment
from support.stack import in_memory

_TOLD = "run under faults"
_FOLDER = Path(__file__).parent


@pytest.fixture(scope="session")
def own_stack() -> Iterator[Stack]:
    """Servers that these tests may kill."""
    with Stack(scratch=in_memory()) as stack:
        yield stack


@pytest.fixture
async def own_deployment(own_stack: Stack, topic_prefix: str, tmp_path: Path) -> AsyncIterator[Deployment]:
    """A deployment on `own_stack`."""
    name = topic_prefix.rstrip("-")
    connection = await asyncpg.connect(own_stack.database_url)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    url = urlsplit(own_stack.database_url)._replace(path=f"/{name}").geturl()
    await asyncio.to_thread(migrate, url)
    async with Deployment(url, own_stack.bootstrap_servers, topic_prefix, tmp_path) as deployment:
        yield deployment


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Shows a table when the test fails, and in the summary of `make chaos`."""

    def tell(table: str) -> None:
        print(table)  # noqa: T201 - shown when the test fails
        record_property(_TOLD, table)

    return tell


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    return Scene(deployment, settings=SETTINGS)


@pytest.fixture
def own_scene(own_stack: Stack, own_deployment: Deployment) -> Scene:
    return Scene(own_deployment, own_stack, SETTINGS)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the short runs as slow: those of `make chaos` and `make backlog` have marks of their own."""
    for item in items:
        is_short = item.get_closest_marker("chaos") is None and item.get_closest_marker("backlog") is None
        if is_short and item.path.is_relative_to(_FOLDER):
            item.add_marker("slow")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table of each run."""
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    told = [(one.nodeid, table) for one in reports for name, table in one.user_properties if name == _TOLD]
    if told:
        terminalreporter.section("faults: seconds since the run began, and from the heal to ready and without lag")
    for test, table in told:
        terminalreporter.write_line(f"{test}\n{table}\n")
