"""The two servers, from wherever the environment says."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from credit_local_stack.addresses import Addresses
from credit_local_stack.containers import containers
from credit_local_stack.errors import UsageError
from credit_local_stack.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

CHOICE = "CREDITS_STACK"


@contextmanager
def servers(
    say: Callable[[str], None],
    *,
    data: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Iterator[Addresses]:
    """Yield the addresses that the environment gives, or those of servers started for as long as this lasts."""
    choice = environ.get(CHOICE) or "local"
    if choice not in ("local", "testcontainers"):
        raise UsageError(f"{CHOICE} is {choice!r}: it can be local or testcontainers")
    given = Addresses.given(environ)
    if data is not None and (given or choice != "local"):
        raise UsageError("a data folder can be chosen for the local stack only")
    if given:
        say("Using the servers that the environment names")
        yield given
    elif choice == "testcontainers":
        say("Starting Postgres and Kafka in containers")
        with containers() as addresses:
            yield addresses
    else:
        with Stack(data, say=say) as stack:
            yield stack.addresses
