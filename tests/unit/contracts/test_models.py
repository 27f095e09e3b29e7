"""Events as producers build them in Python, where no JSON stands between."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import ValidationError

from credit_contracts import Event, PlanChanged, ProspectExported, ProspectGenerated, encode

NAIVE = datetime(2026, 3, 1, 10)  # noqa: DTZ001


def test_time_in_any_zone_is_kept_in_utc() -> None:
    moment = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    plan = PlanChanged(account_id="a", plan_id="p", monthly_credits=1, effective_at=moment)
    assert plan.effective_at == datetime(2026, 3, 1, 10, tzinfo=UTC)
    assert plan.effective_at.tzinfo is UTC


def test_time_without_a_zone_is_refused_in_data() -> None:
    with pytest.raises(ValidationError, match="without a zone"):
        PlanChanged(account_id="a", plan_id="p", monthly_credits=1, effective_at=NAIVE)


def test_time_without_a_zone_is_not_written_as_if_it_were_local() -> None:
    event = Event("/s", "1", "prospect-exported", NAIVE, ProspectExported(account_id="a", prospect_id="p"))
    with pytest.raises(ValueError, match="without a zone"):
        encode(event)


def test_time_is_written_with_microseconds_also_when_they_are_zero() -> None:
    moment = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    event = Event("/s", "1", "prospect-exported", moment, ProspectExported(account_id="a", prospect_id="p"))
    assert ("ce_time", b"2026-03-01T10:00:00.000000Z") in encode(event).headers


@pytest.mark.parametrize("account_id", ["", "x" * 129, "a\n", "\ud800", b"a", 1, None])
def test_bad_id_is_refused_and_not_shown(account_id: Any) -> None:
    with pytest.raises(ValidationError) as refused:
        ProspectGenerated(account_id=account_id, prospect_id="p")
    assert "input_value" not in str(refused.value)


def test_events_cannot_be_changed_and_compare_by_content() -> None:
    data = ProspectExported(account_id="a", prospect_id="p")
    with pytest.raises(ValidationError, match="frozen"):
        data.account_id = "b"  # type: ignore[misc]
    assert {data} == {ProspectExported(account_id="a", prospect_id="p")}
