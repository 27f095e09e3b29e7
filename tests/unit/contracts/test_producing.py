"""What producers build is read by the service, or refused with names and without values."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_contracts import (
    INCOMING,
    SERVICE_SOURCE,
    BalanceChanged,
    CreditsPurchased,
    EmailBounced,
    Event,
    InvalidEvent,
    PlanChanged,
    ProspectGenerated,
    attempt_id,
    build,
    decode,
    encode,
)
from credit_contracts.examples import examples

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
AGAIN = {"account_id": "acc_5f0c", "prospect_id": "pro_91be"}
VALUE = "a-value"


def built(**fields: Any) -> Event[ProspectGenerated]:
    return build(ProspectGenerated, "/campaigns", "1", NOW, **fields)


@pytest.mark.parametrize("example", [e for e in examples() if e.topic in INCOMING], ids=lambda e: e.name)
def test_every_event_can_be_built_and_is_read_as_it_was_built(example: Any) -> None:
    meant = decode(example.headers, example.value)
    assert isinstance(meant, Event)
    fields = {name: getattr(meant.data, name) for name in type(meant.data).model_fields}
    event = build(INCOMING[example.topic], meant.source, meant.id, meant.time, **fields)
    record = encode(event)
    assert decode(record.headers, record.value, topic_type=example.topic) == event == meant


def test_time_in_any_zone_is_kept_in_utc() -> None:
    at = NOW.astimezone(timezone(timedelta(hours=9)))
    assert build(ProspectGenerated, "/campaigns", "1", at, **AGAIN).time.tzinfo is UTC


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"account_id": VALUE}, "prospect_id: Field required"),
        ({}, "account_id: Field required, prospect_id: Field required"),
        (AGAIN | {"prospect_id": ""}, "prospect_id: String should have at least 1 character"),
        (AGAIN | {"prospect_id": VALUE * 40}, "prospect_id: String should have at most 128 characters"),
        (AGAIN | {"campaing_id": VALUE}, "campaing_id: no such field"),
        (AGAIN | {"account_id": 5}, "account_id: Input should be a valid string"),
    ],
)
def test_what_is_wrong_is_said_with_the_names_of_the_fields(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        built(**fields)
    assert str(refused.value) == told


@pytest.mark.parametrize(
    ("source", "event_id", "time", "told"),
    [
        ("", "1", NOW, "source: empty"),
        ("/campaigns", VALUE * 40, NOW, "id: longer than 128 characters"),
        ("/campaigns", VALUE + "\0", NOW, "id: has a control character"),
        ("/campaigns", VALUE + "\ud800", NOW, "source, id: not text that UTF-8 can write"),
        ("/campaigns", 77_123, NOW, "source, id: not text that UTF-8 can write"),
        (SERVICE_SOURCE, "1", NOW, "source: that of the credit service's own events"),
        ("/campaigns", "1", NOW.replace(tzinfo=None), "time: a time without a zone is no instant"),
        ("/campaigns", "1", "2026-03-02T09:30:00Z", "time: not a datetime"),
        ("/campaigns", "1", datetime(1969, 12, 31, tzinfo=UTC), "time: before 1970"),
        ("/campaigns", "1", datetime.max.replace(tzinfo=timezone(-timedelta(hours=9))), "time: outside the years 1 to"),
    ],
)
def test_what_is_wrong_with_the_envelope_is_said(source: Any, event_id: Any, time: Any, told: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        build(ProspectGenerated, source, event_id, time, **AGAIN)
    assert str(refused.value).startswith(told)


def test_what_depends_on_the_time_of_the_event_is_checked() -> None:
    with pytest.raises(InvalidEvent, match=r"^effective_at: time_too_far_from_event$"):
        build(
            PlanChanged, "/b", "1", NOW, account_id="a", plan_id="p", monthly_credits=1,
            effective_at=NOW + timedelta(days=2_000),
        )  # fmt: skip
    with pytest.raises(InvalidEvent, match=r"^expires_at: expiry_not_after_start$"):
        build(CreditsPurchased, "/b", "1", NOW, account_id="a", purchase_id="p", credits=1, expires_at=NOW)


def test_what_only_the_service_says_is_nobodys_to_build() -> None:
    outgoing: Any = BalanceChanged
    data = dict(decode_outgoing_example())
    with pytest.raises(InvalidEvent, match=r"^type: not one of "):
        build(outgoing, "/campaigns", "1", NOW, **data)


def decode_outgoing_example() -> dict[str, Any]:
    (example,) = [example for example in examples("balance-changed") if example.name == "balance-changed"]
    data = BalanceChanged.model_validate_json(example.value or b"")
    return {name: getattr(data, name) for name in BalanceChanged.model_fields}


_bad = st.sampled_from([VALUE + "\n", VALUE * 50, (VALUE,), {VALUE: VALUE}, VALUE.encode(), None, 4711.5])


@given(field=st.sampled_from(["account_id", "prospect_id", "bounce_type"]), value=_bad)
def test_no_value_is_ever_repeated(field: str, value: Any) -> None:
    if field == "bounce_type" and value is None:
        return
    with pytest.raises(InvalidEvent) as refused:
        build(EmailBounced, "/mailer", "1", NOW, **({"account_id": "a", "prospect_id": "p"} | {field: value}))
    assert field in str(refused.value)
    assert VALUE not in str(refused.value)
    assert "4711" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


# An id that was given out is never to change: written down, not computed.
def test_id_of_an_attempt_is_the_same_for_ever() -> None:
    known = attempt_id("prospect-generated", "acc_5f0c", "pro_91be", attempt=1)
    assert known == "a0d61a14-539d-50ba-ae6e-7e25b51eedb4"


@given(names=st.lists(st.text(min_size=1), min_size=1, max_size=3), attempt=st.integers(1))
def test_a_retry_has_the_same_id_and_a_new_attempt_another(names: list[str], attempt: int) -> None:
    def of(number: int) -> str:
        return attempt_id("prospect-generated", "a", *names, attempt=number)

    assert of(attempt) == of(attempt)
    assert len({of(attempt), of(attempt + 1), of(attempt + 10)}) == 3


def test_what_is_named_otherwise_is_another_attempt() -> None:
    ids = [
        attempt_id("prospect-generated", "a", "b", "c", attempt=1),
        attempt_id("prospect-exported", "a", "b", "c", attempt=1),
        attempt_id("prospect-generated", "ab", "c", attempt=1),
        attempt_id("prospect-generated", "a", "bc", attempt=1),
        attempt_id("prospect-generated", "a", "b,c", attempt=1),
        attempt_id("prospect-generated", "a", 'b","c', attempt=1),
        attempt_id("prospect-generated", "a", "b", "c", "1", attempt=1),
    ]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("arguments", "attempt", "told"),
    [
        (("prospect-generatd", "a", "p"), 1, "event_type"),
        (("prospect-generated", "a"), 1, "names"),
        (("prospect-generated", "a", ""), 1, "names"),
        (("prospect-generated", "", "p"), 1, "account_id"),
        (("prospect-generated", "a", "p"), 0, "attempt"),
    ],
)
def test_an_attempt_without_a_name_is_refused(arguments: tuple[str, ...], attempt: int, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        attempt_id(*arguments, attempt=attempt)


@pytest.mark.parametrize(
    ("arguments", "attempt", "told"),
    [
        (("prospect-generated", "a", 7), 1, "names"),
        (("prospect-generated", "a", "p", None), 1, "names"),
        (("prospect-generated", 7, "p"), 1, "account_id"),
        ((["prospect-generated"], "a", "p"), 1, "event_type"),
        (("prospect-generated", "a", "p"), True, "attempt"),
        (("prospect-generated", "a", "p"), 1.0, "attempt"),
        (("prospect-generated", "a", "p"), "1", "attempt"),
    ],
)
def test_a_name_of_another_type_is_refused(arguments: Any, attempt: Any, told: str) -> None:
    """7 and "7" would be two attempts, and True would be the first or not, as JSON writes it."""
    with pytest.raises(TypeError, match=told):
        attempt_id(*arguments, attempt=attempt)
