"""Messages of a producer that uses kafka-python."""

from __future__ import annotations

import gc
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient

if TYPE_CHECKING:
    from collections.abc import Iterable

    from support.foreign.librdkafka import Sent

_SECONDS_MAX = 30


def send(kafka: str, codec: str, records: Iterable[Sent]) -> None:
    """Sends them, packed with that codec; returns once the broker has them. A partition of -1 is the key's own."""
    producer = KafkaProducer(
        bootstrap_servers=kafka, compression_type=None if codec == "none" else codec, linger_ms=50, acks="all"
    )
    try:
        futures = [
            producer.send(topic, value, key, list(headers), None if partition < 0 else partition)
            for topic, partition, key, value, headers in records
        ]
        for future in futures:
            future.get(_SECONDS_MAX)
    finally:
        producer.close()


def collect_sockets() -> None:
    """Frees those that it left open when a broker that was away refused them: no later test is to blame for that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def log_folder(kafka: str) -> Path:
    """Where the one broker keeps its logs, on whatever machine it runs."""
    client = KafkaAdminClient(bootstrap_servers=kafka)
    try:
        ((folder,),) = ([one["log_dir"] for one in broker["log_dirs"]] for broker in client.describe_log_dirs())
    finally:
        client.close()
    return Path(folder)
