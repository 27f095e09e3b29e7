"""Compacted topics are reported, as far as the login may see their settings."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

from credit_service.application.readiness import Status
from credit_service.kafka.access.compacted_topics import CompactedTopics
from credit_service.kafka.connect.connection import KafkaConnection

REFUSED = 29
Resource = tuple[int, str, int, str, list[tuple[Any, ...]]]


class Admin:
    """Stands in for aiokafka's: gives or raises the next answer, and ends the looking after the last one."""

    answers: list[list[Resource] | Exception]
    closed = 0

    def __init__(self, **_: Any) -> None: ...
    async def start(self) -> None: ...

    async def close(self) -> None:
        Admin.closed += 1

    async def describe_configs(self, _: Any) -> list[SimpleNamespace]:
        answer = Admin.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return [SimpleNamespace(resources=answer)]


def told(name: str, policy: str | None) -> Resource:
    return 0, "", 2, name, [("cleanup.policy", policy, False, 1, False)]


class Enough(BaseException):
    """Ends the looking, which has no end of its own."""


async def seen(monkeypatch: pytest.MonkeyPatch, *answers: list[Resource] | Exception) -> list[dict[str, str]]:
    """The degraded parts after each answer."""
    found = []
    status = Status({})

    async def sleep(_: float) -> None:
        found.append(dict(status.degraded))
        if not Admin.answers:
            raise Enough

    Admin.answers = list(answers)
    monkeypatch.setattr("credit_service.kafka.access.compacted_topics.create_client", lambda *_, **__: Admin())
    monkeypatch.setattr("credit_service.kafka.access.compacted_topics.asyncio.sleep", sleep)
    with pytest.raises(Enough):
        await CompactedTopics(KafkaConnection("h:1", "g"), status).keep_looking()
    return found


async def test_topics_are_named_until_they_are_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    compacted = [told("b", "compact,delete"), told("a", "compact"), told("c", "delete"), told("d", None)]
    named = {"compacted": "Kafka compacts topics, and removes messages that were not read: a, b"}
    assert await seen(monkeypatch, compacted, KafkaConnectionError(), [told("a", "delete")]) == [named, named, {}]


async def test_where_settings_may_not_be_seen_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    refused: Resource = (REFUSED, "not allowed", 2, "a", [])
    named = {"compacted": "Kafka compacts topics, and removes messages that were not read: b"}
    assert await seen(monkeypatch, [refused], [refused, told("b", "compact")]) == [{}, named]


async def test_a_defect_does_not_end_the_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = Admin.closed
    assert await seen(monkeypatch, RuntimeError("a defect"), []) == [{}, {}]
    assert Admin.closed == closed + 2
