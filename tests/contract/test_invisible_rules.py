"""What no schema shows of what is read may only widen: others keep to it. A line may come, and none may go."""

import json
from datetime import datetime
from typing import Any

import pytest

from credit_contracts import Event, decode
from credit_contracts.envelope import MAX_VALUE_BYTES, TYPE_CHARACTERS_MAX
from credit_contracts.ids import ID_CHARACTERS_MAX, SOURCE_CHARACTERS_MAX
from credit_contracts.incoming import AMOUNT_MAX, PLAN_YEARS_MAX, STAGE_CHARACTERS_MAX
from credit_contracts.times import parse_time

# What each was when it was published; larger is well.
AT_LEAST = {
    "AMOUNT_MAX": (AMOUNT_MAX, 10**9),
    "ID_CHARACTERS_MAX": (ID_CHARACTERS_MAX, 128),
    "MAX_VALUE_BYTES": (MAX_VALUE_BYTES, 1024 * 1024),
    "PLAN_YEARS_MAX": (PLAN_YEARS_MAX, 5),
    "SOURCE_CHARACTERS_MAX": (SOURCE_CHARACTERS_MAX, 256),
    "STAGE_CHARACTERS_MAX": (STAGE_CHARACTERS_MAX, 128),
    "TYPE_CHARACTERS_MAX": (TYPE_CHARACTERS_MAX, 128),
}

AT = "2026-03-01T10:00:00.000000Z"
PLAN = {"plan_id": "p", "monthly_credits": 1}
PURCHASE = {"purchase_id": "p", "credits": 1}

# At the edge of what the validators let through.
READ: list[tuple[str, dict[str, Any]]] = [
    *(
        ("plan-changed", PLAN | {field: moment})
        for field in ("effective_at", "billing_anchor_at")
        for moment in ("2021-03-01T10:00:00Z", "2031-03-01T10:00:00Z", None)
    ),
    ("plan-changed", PLAN | {"billing_anchor_at": "1970-01-01T00:00:00Z"}),
    *(
        ("plan-changed", PLAN | {"time_zone": name})
        for name in ("UTC", "Europe/Berlin", "US/Eastern", "Etc/GMT+12", "EST", "America/Argentina/Buenos_Aires", None)
    ),
    ("credits-purchased", PURCHASE | {"expires_at": "2026-03-01T10:00:00.000001Z"}),
    ("credits-purchased", PURCHASE | {"expires_at": "9999-12-31T23:59:59.999999Z"}),
    ("credits-purchased", PURCHASE | {"expires_at": None}),
    ("prospect-stage-changed", {"prospect_id": "p", "stage": "\x00\n" + "é" * 126}),
    ("email-bounced", {"prospect_id": "p", "bounce_type": None}),
    ("prospect-deleted", {"prospect_id": "p", "unknown": {"a": [None]}}),
    ("prospect-imported", {"prospect_id": " \u200b€\U0001f600"}),
]
TIMES = [
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999Z",
    "2026-03-01t10:00:00z",
    "2026-03-01T10:00:00.1234567890Z",
    "2026-03-01T10:00:00+23:59",
    "2026-03-01T10:00:00-00:00",
]


@pytest.mark.parametrize(("now", "published"), AT_LEAST.values(), ids=AT_LEAST)
def test_bounds_only_widen(now: int, published: int) -> None:
    assert now >= published


@pytest.mark.parametrize(("topic", "data"), READ, ids=lambda one: one if isinstance(one, str) else [*one.values()][-1])
def test_what_was_read_at_the_edge_is_read(topic: str, data: dict[str, Any]) -> None:
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", b"i" * 128),
        ("ce_source", b"s" * 256),
        ("ce_type", topic.encode()),
        ("ce_time", AT.encode()),
    ]
    assert isinstance(decode(headers, json.dumps({"account_id": "a" * 128} | data).encode()), Event)


@pytest.mark.parametrize("text", TIMES)
def test_what_was_a_time_is_a_time(text: str) -> None:
    assert isinstance(parse_time(text), datetime)
