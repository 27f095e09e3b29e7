"""The page says the rights that the code needs."""

from __future__ import annotations

import re
from pathlib import Path

from credit_contracts import DEAD_LETTER_TOPIC, INCOMING_TOPICS, OUTGOING_TOPICS
from credit_service.kafka.connect.acls import USES, required_acls
from credit_service.kafka.connect.connection import KafkaConnection

PAGE = (Path(__file__).parents[2] / "deploy" / "KAFKA_ACCESS.md").read_text()
GROUPS = {"all incoming": INCOMING_TOPICS, "all outgoing": OUTGOING_TOPICS}


def told() -> set[tuple[str, str, str, str]]:
    lines = PAGE.partition("| for | may |")[2].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return {
        (use, kind, name, operation)
        for use, operations, kind, named in rows
        for operation in operations.split(", ")
        for one in named.split(", ")
        for name in GROUPS.get(one, (one.strip("`"),))
    }


def test_the_table_is_the_code() -> None:
    connection = KafkaConnection("kafka:9092", "credit-service")
    assert told() == {(use, *right) for use in USES for right in required_acls(connection, use)}
    assert DEAD_LETTER_TOPIC in PAGE


def test_the_intervals_are_the_code() -> None:
    from credit_service.kafka.access.monitor import ASK_AGAIN_SECONDS, ASK_AGAIN_SECONDS_MAX, ASK_EVERY_SECONDS

    assert (ASK_EVERY_SECONDS, ASK_AGAIN_SECONDS, ASK_AGAIN_SECONDS_MAX) == (10, 1, 10)
    assert re.search(r"every ten seconds, and when something was refused;", PAGE)
