"""A deployment that is filled once; tests that leave its topics alone have a copy of its database each."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from support.service import Deployment
from support.stack import fresh_database, in_a_loop_of_its_own
from support.topics import remove_topics, topics_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from credit_local_stack import Addresses


@contextmanager
def filled_deployment(
    stack: Addresses, template: str, folder: Path, fill: Callable[[Deployment], Awaitable[None]]
) -> Iterator[Deployment]:
    """What `fill` makes of an empty deployment; nothing may stay connected to its database."""

    async def remove() -> None:
        await remove_topics(stack.bootstrap_servers, await topics_of(stack.bootstrap_servers, prefix))

    prefix = f"t{secrets.token_hex(4)}-"
    with fresh_database(stack.database_url, template) as url:
        deployment = Deployment(url, stack.bootstrap_servers, prefix, folder)
        try:
            in_a_loop_of_its_own(lambda: fill(deployment))
            yield deployment
        finally:
            in_a_loop_of_its_own(remove)


@contextmanager
def copy_of(filled: Deployment, stack: Addresses, folder: Path) -> Iterator[Deployment]:
    """The same topics and group, which are to be left as they are, with a database that may be written to."""
    with fresh_database(stack.database_url, urlsplit(filled.database_url).path[1:]) as url:
        yield replace(filled, database_url=url, folder=folder, processes=[])
