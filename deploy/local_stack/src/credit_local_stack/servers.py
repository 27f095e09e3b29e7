"""The two servers, from wherever the environment says."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from credit_local_stack.addresses import Addresses
from credit_local_stack.containers import containers
from credit_local_stack.errors import UsageError
from credit_local_stack.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

CHOICE = "CREDITS_STACK"


@dataclass(frozen=True, slots=True)
class Servers:
    """Two servers that run, and a way to wait until they do not."""

    addresses: Addresses
    wait: Callable[[], object]


@contextmanager
def servers(
    say: Callable[[str], None],
    *,
    data: Path | None = None,
    scratch: Path | None = None,
    rebalance_delay_ms: int = 0,
    environ: Mapping[str, str] = os.environ,
) -> Iterator[Servers]:
    """Yield the servers that the environment names, or others started for as long as this lasts.

    `data`, `scratch` and `rebalance_delay_ms` are those of `Stack`; `scratch` says nothing to servers that are not
    started here.
    """
    choice = environ.get(CHOICE) or "local"
    if choice not in ("local", "testcontainers"):
        raise UsageError(f"{CHOICE} is {choice!r}: it can be local or testcontainers")
    given = Addresses.given(environ)
    if data is not None and (given or choice != "local"):
        raise UsageError("a data folder can be chosen for the local stack only")
    if rebalance_delay_ms and (given or choice != "local"):
        raise UsageError("the delay of rebalances can be chosen for the local stack only")
    if given:
        say("Using the servers that the environment names")
        yield Servers(given, signal.pause)
    elif choice == "testcontainers":
        say("Starting Postgres and Kafka in containers")
        with containers() as addresses:
            yield Servers(addresses, signal.pause)
    else:
        with Stack(data, scratch=scratch, kafka_rebalance_delay_ms=rebalance_delay_ms, say=say) as stack:
            yield Servers(stack.addresses, stack.wait)
