"""Everything that a live run has decided and published, held against each other once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete

from benchmarks.contenders import ContenderFailed
from benchmarks.watch import TooSlow
from credit_contracts.topics import OUTGOING_TOPICS, PARTITIONS
from credit_local_stack.process import die_with_parent

if TYPE_CHECKING:
    from benchmarks.deployment import Backlog, Deployment

RECONCILE_SECONDS_MAX = 300
COMMAND = (str(Path(sysconfig.get_path("scripts")) / "credits"), "reconcile", "--output", "json")


@dataclass(frozen=True, slots=True)
class Reconciled:
    """One run of the command, from its start to its end."""

    messages: int
    seconds: float

    @property
    def messages_per_second(self) -> float:
        """Incoming messages a second; as many decisions, and what was published of them, are compared with them."""
        return self.messages / self.seconds


async def forget_published(place: Deployment) -> None:
    """Empties the outgoing topics: other contenders have published the same events of the same backlog."""
    partitions = [TopicPartition(place.topic_prefix + topic, n) for topic in OUTGOING_TOPICS for n in range(PARTITIONS)]
    consumer = AIOKafkaConsumer(bootstrap_servers=place.bootstrap_servers.split(","))
    admin = AIOKafkaAdminClient(bootstrap_servers=place.bootstrap_servers.split(","))
    try:
        await consumer.start()
        await admin.start()
        ends = await consumer.end_offsets(partitions)
        written = {at: RecordsToDelete(before_offset=end) for at, end in ends.items() if end}
        if written:
            await admin.delete_records(written)
    finally:
        await admin.close()
        await consumer.stop()


async def reconcile(place: Deployment, backlog: Backlog) -> Reconciled:
    """Measures the command; to be called after a live run in the same database. Raises if anything differs."""
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        env=os.environ | place.environment(),
        stdout=subprocess.PIPE,
        preexec_fn=die_with_parent(signal.SIGKILL),
    )
    try:
        async with asyncio.timeout(RECONCILE_SECONDS_MAX):
            written, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        raise TooSlow(f"a reconciliation took more than {RECONCILE_SECONDS_MAX} s") from None
    seconds = time.monotonic() - began
    *found, last = written.splitlines() or [b"{}"]
    compared = json.loads(last).get("summary", {}).get("compared", {})
    if found or compared.get("messages") != backlog.messages:
        raise ContenderFailed(f"a reconciliation of {backlog.messages} messages ended with {last[:500]!r}")
    return Reconciled(backlog.messages, seconds)
