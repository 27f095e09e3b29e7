"""The README is what other teams build on: its examples run, and its tables are the code's."""

import os
import re
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from inspect import signature
from pathlib import Path
from typing import Any, get_args

import pytest

from credit_contracts import (
    INCOMING,
    OUTGOING,
    SERVICE_SOURCE,
    WRONG_EMAIL,
    Cause,
    Event,
    InvalidEvent,
    Place,
    PlanChanged,
    ProspectDeleted,
    Verdict,
    attempt_id,
    build,
    decode,
)
from credit_contracts.dead_letters import reasons_of
from credit_contracts.examples import examples
from credit_contracts.incoming import AMOUNT_MAX, PLAN_YEARS_MAX, STAGE_CHARACTERS_MAX
from credit_contracts.sequence_guard import MISSING_MAX, RECENT_MAX
from credit_service.application.processing.timer_sweep import TIMER_GRACE
from credit_service.domain.audit.steps import TIMERS
from credit_service.domain.command import CommandType
from credit_service.domain.event import AHEAD_MAX
from credit_service.testing import CreditService
from support.patience import patience
from support.readme import README, programs, snippets

RUNS_ON = (
    *("aiokafka", "asyncpg", "faststream", "opentelemetry", "prometheus_client"),
    *("pydantic_settings", "starlette", "typer", "uvicorn"),
)
"""What the real service needs besides, as modules."""


def test_first_snippet_is_read_by_the_service() -> None:
    namespace: dict[str, Any] = {}
    exec(snippets()[0], namespace)  # noqa: S102 - it is what people run
    record = namespace["record"]
    event = decode(record.headers, record.value, topic_type="prospect-generated")
    assert event == namespace["event"]
    assert isinstance(event, Event)
    assert event.id == attempt_id("prospect-generated", "acc_5f0c", "pro_91be", attempt=1)


def test_programs_are_there_for_each_client_and_both_ways() -> None:
    clients = ["aiokafka", "faststream", "confluent"]
    with_balances = {"balances.py", "test_balances.py"}
    assert programs().keys() == {*with_balances, *(f"{way}_{c}.py" for c in clients for way in ("send", "read"))}


def test_balances_take_every_outgoing_example(capsys: pytest.CaptureFixture[str]) -> None:
    namespace: dict[str, Any] = {}
    exec(programs()["balances.py"], namespace)  # noqa: S102 - it is what people run
    records = [example for topic in OUTGOING for example in examples(topic)]
    balances = namespace["Balances"](":memory:")
    with closing(balances.db):
        for offset, record in enumerate(records):
            balances.take(record.headers, record.value, Place(record.topic, 0, offset))
    printed = capsys.readouterr().out.splitlines()
    assert "acc_5f0c has 999 credits (change 2)" in printed
    assert "acc_5f0c lacks 1 credits" in printed


def test_its_test_on_the_service_in_memory_passes_and_loads_no_client_of_a_server(tmp_path: Path) -> None:
    for name in ("balances.py", "test_balances.py"):
        (tmp_path / name).write_text(programs()[name])
    run = f"import pytest, sys; sys.modules.update(dict.fromkeys({RUNS_ON})); sys.exit(pytest.main(['-qWerror']))"
    alone = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-c", run]
    done = subprocess.run(
        command, cwd=tmp_path, env=alone, capture_output=True, text=True, timeout=patience(60), check=False
    )
    assert (done.returncode, done.stdout.splitlines()[-1][:8]) == (0, "1 passed"), done.stdout + done.stderr


def test_what_is_said_of_time_in_memory_is_the_code() -> None:
    words = " ".join(README.split())
    assert f"has to be past by {TIMER_GRACE.seconds} seconds" in words
    assert f"more than {AHEAD_MAX.seconds // 60} minutes ahead of the clock" in words
    hours = signature(CreditService).parameters["parked_hours_max"].default
    assert f"waited for a first plan for longer than {hours} hours" in words


def test_table_of_verdicts_is_the_code() -> None:
    table = README[README.index("| verdict |") :].partition("\n\n")[0]
    named = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert sorted(named) == sorted(verdict.__name__ for verdict in get_args(Verdict))


def test_bounds_of_the_guard_are_the_code() -> None:
    words = " ".join(README.split())
    assert f"Remembered are {MISSING_MAX} gaps" in words
    assert f"the last {RECENT_MAX} changes and the last {RECENT_MAX} declines" in words
    assert f"of a {MISSING_MAX + 1}th gap" in words
    assert f"the first difference among the last {RECENT_MAX} changes is `Rewritten`" in words
    assert f"A restore that reaches farther back than {RECENT_MAX} changes" in words


@pytest.mark.parametrize(("topic", "model"), INCOMING.items())
def test_table_of_fields_is_the_code(topic: str, model: Any) -> None:
    fields = {name: field.is_required() for name, field in model.model_fields.items() if name != "account_id"}
    needed = ", ".join(f"`{name}`" for name, is_required in fields.items() if is_required)
    optional = ", ".join(f"`{name}`" for name, is_required in fields.items() if not is_required)
    row = f"| `{topic}` | {', '.join(model.producers)} | {needed} | {optional} |"
    assert row.replace("|  |", "| |") in README


def test_table_of_attempts_has_every_topic() -> None:
    table = README[README.index("| topic | names for `attempt_id`") :].partition("\n\n")[0]
    assert re.findall(r"^\| `([\w-]+)` \| [^|]+ \| [^|]+ \|$", table, re.MULTILINE) == list(INCOMING)


def test_causes_of_the_services_own_are_the_code() -> None:
    due = {*TIMERS, *get_args(CommandType)} - {"refund-rejected"}  # changes no balance
    told = README[README.index("one of its own: ") :].partition(". A decline")[0]
    assert set(re.findall(r"`([\w-]+)`", told)) == due
    assert all(name in str(Cause.model_fields["type"].description) for name in due)


def test_what_build_cannot_see_is_the_code() -> None:
    told = README[README.index("What it cannot see becomes a dead letter later") :].partition("\n\n")[0]
    unseen = {*reasons_of("event", "account", "first-plan", "service")} - {"reserved-source", "before-1970"}
    assert set(re.findall(r"`([\w-]+)`", told)) == {"time", *unseen}


@pytest.mark.parametrize(("source", "year"), [(SERVICE_SOURCE, 2026), ("/campaigns", 1969)])
def test_what_build_can_see_is_refused(source: str, year: int) -> None:
    """`reserved-source` and `before-1970`."""
    with pytest.raises(InvalidEvent):
        build(ProspectDeleted, source, "1", datetime(year, 3, 2, tzinfo=UTC), account_id="a", prospect_id="p")


def test_the_same_id_with_the_same_content_is_dropped_whatever_its_time() -> None:
    """A plan that is gone back to: under the name of the plan, and as the table says."""
    for names, due in ((["A", "B", "A"], "B"), (["change 1", "change 2", "change 3"], "A")):
        service = CreditService(datetime(2026, 3, 2, tzinfo=UTC))
        for name, plan, monthly in zip(names, ["A", "B", "A"], [10, 20, 10], strict=True):
            event_id = attempt_id("plan-changed", "a", name, attempt=1)
            fields: dict[str, Any] = {"account_id": "a", "plan_id": plan, "monthly_credits": monthly}
            service.send(build(PlanChanged, "/billing", event_id, service.now, **fields))
            service.move_clock(service.now + timedelta(hours=1))
        account = service.account("a")
        assert account is not None
        assert account.plan is not None
        assert (account.plan.plan_id, service.dead_letters) == (due, [])


def test_limits_are_the_code() -> None:
    assert f"Amounts are at most {AMOUNT_MAX:,}," in README
    assert f"A `stage` has 1 to {STAGE_CHARACTERS_MAX} characters." in README
    assert f"within {PLAN_YEARS_MAX} years of `ce_time`" in README
    assert f"`{WRONG_EMAIL}` asks for a refund" in README


@pytest.mark.parametrize(("reason", "meaning"), reasons_of("message").items())
def test_table_of_reasons_is_the_code(reason: str, meaning: str) -> None:
    assert f"| `{reason}` | {meaning} |" in README
