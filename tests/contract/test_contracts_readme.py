"""The README is what other teams build on: its examples run, and its tables are the code's."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from credit_contracts import INCOMING, OUTGOING, WRONG_EMAIL, Event, ProspectGenerated, decode
from credit_contracts.envelope import UNREADABLE_REASONS
from credit_contracts.examples import examples
from credit_contracts.incoming import AMOUNT_MAX, PLAN_YEARS_MAX, STAGE_CHARACTERS_MAX
from credit_service.testing import CreditService

README = (Path(__file__).parents[2] / "contracts" / "README.md").read_text("utf-8")


def _example(number: int) -> dict[str, Any]:
    namespace: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", README, re.DOTALL)[number], namespace)  # noqa: S102
    return namespace


class Producer:
    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    async def send_and_wait(self, topic: str, value: bytes, **rest: Any) -> None:
        self.sent.append({"topic": topic, "value": value, **rest})


async def test_sending_as_the_readme_shows_is_read_by_the_service() -> None:
    producer, now = Producer(), datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
    await _example(0)["report_prospect"](producer, "attempt-1", now)
    [sent] = producer.sent
    data = ProspectGenerated(account_id="acc_5f0c", prospect_id="pro_91be", campaign_id="cam_2d44")
    assert decode(sent["headers"], sent["value"], topic_type=sent["topic"]) == Event(
        "/campaigns", "attempt-1", "prospect-generated", now, data
    )
    assert sent["key"] == b"acc_5f0c"


async def test_reading_as_the_readme_shows_takes_every_outgoing_example(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def records() -> AsyncIterator[SimpleNamespace]:
        for topic in OUTGOING:
            for example in examples(topic):
                yield SimpleNamespace(headers=tuple(example.headers), value=example.value)

    await _example(1)["follow"](records())
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == sum(len(examples(topic)) for topic in OUTGOING)
    assert "acc_5f0c has 999 credits (change 2)" in printed
    assert "acc_5f0c lacks 1 credits" in printed


def test_testing_as_the_readme_shows_holds() -> None:
    namespace = _example(2)
    assert [message.topic for message in namespace["credits"].published] == [
        *["balance-changed", "balance-changed", "insufficient-credits", "credit-service-dead-letters"],
        "balance-changed",
    ]


def test_table_of_what_the_service_in_memory_can_is_the_code() -> None:
    names = [name for name in vars(CreditService) if not name.startswith("_")]
    table = README[README.index("| `CreditService(now)`") :].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)[(`]", table)) >= {*names, "published"}


@pytest.mark.parametrize(("topic", "model"), INCOMING.items())
def test_table_of_fields_is_the_code(topic: str, model: Any) -> None:
    fields = {name: field.is_required() for name, field in model.model_fields.items() if name != "account_id"}
    needed = ", ".join(f"`{name}`" for name, is_required in fields.items() if is_required)
    optional = ", ".join(f"`{name}`" for name, is_required in fields.items() if not is_required)
    row = f"| `{topic}` | {', '.join(model.producers)} | {needed} | {optional} |"
    assert row.replace("|  |", "| |") in README


def test_limits_are_the_code() -> None:
    assert f"Amounts are at most {AMOUNT_MAX:,}," in README
    assert f"A `stage` has 1 to {STAGE_CHARACTERS_MAX} characters." in README
    assert f"within {PLAN_YEARS_MAX} years of `ce_time`" in README
    assert f"`{WRONG_EMAIL}` asks for a refund" in README


@pytest.mark.parametrize(("reason", "meaning"), UNREADABLE_REASONS.items())
def test_table_of_reasons_is_the_code(reason: str, meaning: str) -> None:
    assert f"| `{reason}` | {meaning} |" in README
