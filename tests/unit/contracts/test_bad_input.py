"""Everything that is refused, and that a refusal never repeats what was sent."""

import json
from collections.abc import Callable
from typing import Any, get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from credit_contracts import (
    INCOMING,
    OUTGOING,
    Event,
    Headers,
    PlanChanged,
    Unreadable,
    UnreadableReason,
    decode,
    decode_outgoing,
)
from credit_contracts.dead_letters import reasons_of
from credit_contracts.envelope import DETAIL_CHARACTERS_MAX, MAX_VALUE_BYTES
from credit_contracts.times import parse_time

Changes = dict[str, Any]

NOW = "2026-03-01T10:00:00Z"
SOURCE = "/tests"
GENERATED = {"account_id": "a", "prospect_id": "p"}
BOUNCED = {"account_id": "a", "prospect_id": "p"}
PLAN = {"account_id": "a", "plan_id": "p", "monthly_credits": 100}
PURCHASED = {"account_id": "a", "purchase_id": "p", "credits": 100}
STAGE = {"account_id": "a", "prospect_id": "p", "stage": "wrong-email"}
DATA: dict[str, Changes] = {
    "prospect-generated": GENERATED,
    "prospect-exported": GENERATED,
    "email-bounced": BOUNCED,
    "plan-changed": PLAN,
    "credits-purchased": PURCHASED,
    "prospect-imported": GENERATED,
    "prospect-transferred": GENERATED,
    "prospect-stage-changed": STAGE,
    "prospect-deleted": GENERATED,
}

ABSENT: Any = object()


def _merged(base: Changes, changes: Changes) -> Changes:
    return {name: value for name, value in (base | changes).items() if value is not ABSENT}


def _attributes(type_: str, changes: Changes) -> Changes:
    usual = {"specversion": "1.0", "id": "1", "source": SOURCE, "type": type_, "time": NOW}
    return _merged(usual, changes)


def binary_headers(type_: str = "prospect-generated", **changes: Any) -> list[tuple[str, Any]]:
    return [
        (f"ce_{name}", value.encode() if isinstance(value, str) else value)
        for name, value in _attributes(type_, changes).items()
    ]


STRUCTURED_HEADERS: Headers = [("content-type", b"application/cloudevents+json; charset=UTF-8")]


def structured_value(type_: str = "prospect-generated", **changes: Any) -> bytes:
    return json.dumps(_attributes(type_, {"data": DATA.get(type_, GENERATED)} | changes)).encode()


def as_binary(type_: str, data: bytes) -> Event[Any] | Unreadable:
    return decode(binary_headers(type_), data)


def as_structured(type_: str, data: bytes) -> Event[Any] | Unreadable:
    envelope = json.dumps(_attributes(type_, {})).encode()
    return decode(STRUCTURED_HEADERS, envelope[:-1] + b', "data": ' + data + b"}")


def refusal(result: Event[Any] | Unreadable) -> tuple[UnreadableReason, str]:
    assert isinstance(result, Unreadable)
    return result.reason, result.detail


both_modes = pytest.mark.parametrize("read", [as_binary, as_structured])
Read = Callable[[str, bytes], Event[Any] | Unreadable]


def test_no_type_is_left_out() -> None:
    assert DATA.keys() == INCOMING.keys()


@both_modes
@pytest.mark.parametrize("type_", DATA)
def test_what_the_bad_inputs_are_made_from_is_good(read: Read, type_: str) -> None:
    assert isinstance(read(type_, json.dumps(DATA[type_]).encode()), Event)


ID = "string_too_short", "string_too_long", "string_pattern_mismatch", "string_type"
TOO_SHORT, TOO_LONG, CONTROL, NO_STRING = ID
NO_TIME = "time_not_rfc3339_with_zone"

BAD_NUMBERS: list[tuple[Any, str]] = [
    (-1, "greater_than_equal"),
    (10**9 + 1, "less_than_equal"),
    (2**63, "less_than_equal"),
    (2**64, "less_than_equal"),
    (10**400, "less_than_equal"),
    (-(10**400), "greater_than_equal"),
    (True, "int_type"),
    ("5", "int_type"),
    (1.0, "int_type"),
    (1e300, "int_type"),
    (float("nan"), "int_type"),
    (float("inf"), "int_type"),
    (float("-inf"), "int_type"),
    ([], "int_type"),
]
BAD_TIMES: list[tuple[Any, str]] = [
    ("1700000000", NO_TIME),
    (1700000000, NO_TIME),
    (1.7e9, NO_TIME),
    (True, NO_TIME),
    ("", NO_TIME),
    ("2026-03-01", NO_TIME),
    ("2026-03-01T10:00Z", NO_TIME),
    ("2026-03-01T10:00:00", NO_TIME),
    ("2026-03-01 10:00:00Z", NO_TIME),
    ("20260301T100000Z", NO_TIME),
    ("2026-W09-7T10:00:00Z", NO_TIME),
    ("2026-03-01T10:00:00,5Z", NO_TIME),
    ("2026-03-01T10:00:00+0100", NO_TIME),
    ("2026-03-01T10:00:00+24:00", NO_TIME),
    ("2026-03-01T10:00:00+01:60", NO_TIME),
    ("2026-03-01T10:00:00 Europe/Paris", NO_TIME),
    (" 2026-03-01T10:00:00Z", NO_TIME),
    ("2026-03-01T10:00:00Z\n", NO_TIME),
    ("٢٠٢٦-03-01T10:00:00Z", NO_TIME),
    ("+12026-03-01T10:00:00Z", NO_TIME),
    ("2026-12-31T23:59:60Z", "time_leap_second"),
    ("2026-02-29T10:00:00Z", "time_does_not_exist"),
    ("2026-13-01T10:00:00Z", "time_does_not_exist"),
    ("2026-03-01T24:00:00Z", "time_does_not_exist"),
    ("0000-03-01T10:00:00Z", "time_does_not_exist"),
    ("0001-01-01T00:00:00+00:01", "time_out_of_range"),
    ("9999-12-31T23:59:59-00:01", "time_out_of_range"),
]

BAD_DATA: list[tuple[str, Changes, str]] = [
    *(
        (type_, {field: value}, f"{field}: {kind}")
        for type_, field in [
            ("prospect-generated", "account_id"),
            ("prospect-generated", "prospect_id"),
            ("prospect-generated", "campaign_id"),
            ("email-bounced", "prospect_id"),
            ("plan-changed", "plan_id"),
            ("credits-purchased", "purchase_id"),
            ("prospect-imported", "prospect_id"),
            ("prospect-transferred", "prospect_id"),
            ("prospect-transferred", "from_campaign_id"),
            ("prospect-transferred", "to_campaign_id"),
            ("prospect-stage-changed", "prospect_id"),
            ("prospect-deleted", "prospect_id"),
        ]
        for value, kind in [
            ("", TOO_SHORT),
            ("x" * 129, TOO_LONG),
            ("é" * 129, TOO_LONG),
            ("a\0b", CONTROL),
            ("a\n", CONTROL),
            ("\x7f", CONTROL),
            ("\u0085", CONTROL),
            (1, NO_STRING),
            (True, NO_STRING),
            (["a"], NO_STRING),
            ({"a": 1}, NO_STRING),
        ]
    ),
    (
        "prospect-generated",
        {"account_id": ABSENT, "prospect_id": 5},
        "account_id: missing, prospect_id: string_type",
    ),
    *((type_, {field: ABSENT}, f"{field}: missing") for type_, data in DATA.items() for field in data),
    *(
        (type_, {field: None}, f"{field}: {NO_STRING}")
        for type_, data in DATA.items()
        for field, value in data.items()
        if isinstance(value, str)
    ),
    ("email-bounced", {"bounce_type": "firm"}, "bounce_type: literal_error"),
    ("email-bounced", {"bounce_type": "HARD"}, "bounce_type: literal_error"),
    ("email-bounced", {"bounce_type": 1}, "bounce_type: literal_error"),
    *(
        ("plan-changed", {field: value}, f"{field}: {kind}")
        for field in ("monthly_credits", "seats", "email_accounts")
        for value, kind in BAD_NUMBERS
    ),
    *(
        ("plan-changed", {field: value}, f"{field}: {kind}")
        for field in ("effective_at", "billing_anchor_at")
        for value, kind in [
            *BAD_TIMES,
            ("0001-01-01T00:00:00Z", "time_too_far_from_event"),
            ("9999-12-31T23:59:59Z", "time_too_far_from_event"),
            ("2032-03-01T10:00:00Z", "time_too_far_from_event"),
            ("2031-03-01T10:00:00.000001Z", "time_too_far_from_event"),
        ]
    ),
    ("plan-changed", {"effective_at": "2021-03-01T09:59:59.999999Z"}, "effective_at: time_too_far_from_event"),
    (
        "plan-changed",
        {"billing_anchor_at": "1969-12-31T23:59:59.999999Z"},
        "billing_anchor_at: time_too_far_from_event",
    ),
    *(
        ("plan-changed", {"time_zone": value}, f"time_zone: {kind}")
        for value, kind in [
            ("Europe/Atlantis", "time_zone_unknown"),
            ("", "time_zone_unknown"),
            ("europe/paris", "time_zone_unknown"),
            ("localtime", "time_zone_unknown"),
            ("Factory", "time_zone_unknown"),
            ("+01:00", "time_zone_unknown"),
            ("Europe", "time_zone_unknown"),
            ("Europe/Paris\0", "time_zone_unknown"),
            ("/etc/localtime", "time_zone_unknown"),
            ("../zoneinfo/UTC", "time_zone_unknown"),
            ("Europe/../UTC", "time_zone_unknown"),
            ("posix/Europe/Paris", "time_zone_unknown"),
            ("x" * 100_000, "time_zone_unknown"),
            (1, "string_type"),
        ]
    ),
    *(
        ("credits-purchased", {"credits": value}, f"credits: {kind}")
        for value, kind in [*BAD_NUMBERS, (0, "greater_than_equal"), (1.5, "int_type"), (None, "int_type")]
    ),
    *(
        ("credits-purchased", {"expires_at": value}, f"expires_at: {kind}")
        for value, kind in [
            *BAD_TIMES,
            (NOW, "expiry_not_after_start"),
            ("2026-03-01T12:00:00+02:00", "expiry_not_after_start"),
            ("2026-03-01T10:00:00.0000009Z", "expiry_not_after_start"),
            ("2026-03-01T09:59:59.999999Z", "expiry_not_after_start"),
            ("0001-01-01T00:00:00Z", "expiry_not_after_start"),
        ]
    ),
    *(
        ("prospect-stage-changed", {"stage": value}, f"stage: {kind}")
        for value, kind in [
            ("", TOO_SHORT),
            ("x" * 129, TOO_LONG),
            ("é" * 129, TOO_LONG),
            (1, NO_STRING),
            (True, NO_STRING),
            (["wrong-email"], NO_STRING),
            ({"wrong-email": 1}, NO_STRING),
        ]
    ),
    (
        "credits-purchased",
        {"credits": 0, "expires_at": NOW},
        "credits: greater_than_equal, expires_at: expiry_not_after_start",
    ),
]


@both_modes
@pytest.mark.parametrize(("type_", "changes", "detail"), BAD_DATA)
def test_bad_data(read: Read, type_: str, changes: Changes, detail: str) -> None:
    data = json.dumps(_merged(DATA[type_], changes)).encode()
    assert refusal(read(type_, data)) == ("bad-data", detail)


@both_modes
@pytest.mark.parametrize(
    ("effective_at", "utc"),
    [
        ("2031-03-01T10:00:00Z", "2031-03-01T10:00:00+00:00"),
        ("2021-03-01T10:00:00Z", "2021-03-01T10:00:00+00:00"),
        ("2026-03-01t12:00:00+02:00", "2026-03-01T10:00:00+00:00"),
        ("2026-03-01t10:00:00z", "2026-03-01T10:00:00+00:00"),
        ("2026-03-01T10:00:00.123456789-00:00", "2026-03-01T10:00:00.123456+00:00"),
        ("2026-03-01T10:00:00." + "9" * 10_000 + "Z", "2026-03-01T10:00:00.999999+00:00"),
    ],
)
def test_unusual_time_that_is_good(read: Read, effective_at: str, utc: str) -> None:
    event = read("plan-changed", json.dumps(PLAN | {"effective_at": effective_at}).encode())
    assert isinstance(event, Event)
    assert isinstance(event.data, PlanChanged)
    assert event.data.effective_at is not None
    assert event.data.effective_at.isoformat() == utc


@both_modes
@pytest.mark.parametrize("expires_at", ["2026-03-01T10:00:00.000001Z", "9999-12-31T23:59:59Z", None])
def test_expiry_is_any_time_after_the_event_or_never(read: Read, expires_at: str | None) -> None:
    event = read("credits-purchased", json.dumps(PURCHASED | {"expires_at": expires_at}).encode())
    assert isinstance(event, Event)
    assert event.data.expires_at == (expires_at and parse_time(expires_at))


@both_modes
@pytest.mark.parametrize("amount", [1, 10**9])
def test_fewest_and_most_credits_of_a_purchase(read: Read, amount: int) -> None:
    event = read("credits-purchased", json.dumps(PURCHASED | {"credits": amount}).encode())
    assert isinstance(event, Event)
    assert event.data.credits == amount


@both_modes
@pytest.mark.parametrize("stage", ["wrong-email", "Wrong E-Mail", "never heard of", "s", "é" * 128])
def test_any_stage_is_good(read: Read, stage: str) -> None:
    event = read("prospect-stage-changed", json.dumps(STAGE | {"stage": stage}).encode())
    assert isinstance(event, Event)
    assert event.data.stage == stage


@both_modes
@pytest.mark.parametrize("type_", DATA)
def test_unknown_fields_are_ignored(read: Read, type_: str) -> None:
    unknown = {"email": "jane.doe@example.org", "first_name": ["Jane"]}
    event = read(type_, json.dumps(unknown | DATA[type_] | {"nested": {"account_id": 5}}).encode())
    assert event == read(type_, json.dumps(DATA[type_]).encode())
    assert "jane" not in repr(event).lower()


def test_five_years_are_counted_on_the_calendar() -> None:
    headers = binary_headers("plan-changed", time="2028-02-29T00:00:00Z")
    value = json.dumps(PLAN | {"effective_at": "2033-02-28T23:59:59Z"}).encode()
    assert isinstance(decode(headers, value), Event)
    value = json.dumps(PLAN | {"effective_at": "2033-03-01T00:00:00Z"}).encode()
    assert refusal(decode(headers, value)) == ("bad-data", "effective_at: time_too_far_from_event")


@both_modes
@pytest.mark.parametrize("value", [b"null", b"5", b'"a"', b"[]", b"true", b"NaN"])
def test_data_that_is_no_object(read: Read, value: bytes) -> None:
    assert refusal(read("prospect-generated", value)) == ("bad-data", "value: model_type")


@both_modes
@pytest.mark.parametrize(
    "value",
    [
        b"",
        b" ",
        b"{",
        b'{"account_id":"a","prospect_id":"p"',
        b'{"account_id":"a","prospect_id":"p"} x',
        b'{"account_id":"a","prospect_id":"p",}',
        b"{'account_id':'a'}",
        b'{"account_id":"\x01","prospect_id":"p"}',
        b'{"account_id":"\xff","prospect_id":"p"}',
        b'{"account_id":"\xed\xa0\x80","prospect_id":"p"}',
        b'{"account_id":"\\ud800","prospect_id":"p"}',
        b'{"account_id":"\\udc00\\ud800","prospect_id":"p"}',
        b'{"account_id":"a","prospect_id":"p","x":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        b'{"account_id":"a","prospect_id":"p","x":' + b'{"x":' * 5_000 + b"1" + b"}" * 5_000 + b"}",
        b'{"account_id":"a","prospect_id":"p","x":' + b"9" * 5_000 + b"}",
        b"\xef\xbb\xbf" + json.dumps(GENERATED).encode(),
        json.dumps(GENERATED).encode("utf-16"),
        b"\x00\x00\x00\x00\x07\x02ab",
    ],
)
def test_value_that_is_not_json(read: Read, value: bytes) -> None:
    reason, detail = refusal(read("prospect-generated", value))
    assert reason == "not-json"
    assert detail.startswith("value: ")


BAD_ATTRIBUTES: list[tuple[Changes, str]] = [
    *(({name: ABSENT}, f"{name}: missing") for name in ("specversion", "id", "source", "type", "time")),
    *(({name: ""}, f"{name}: empty") for name in ("specversion", "id", "source", "type", "time")),
    *(
        ({name: f"a{character}b"}, f"{name}: has a control character")
        for name in ("id", "source", "type")
        for character in "\0\n\x1f\x7f\x85\x9f"
    ),
    ({"id": "x" * 129}, "id: longer than 128 characters"),
    ({"source": "x" * 257}, "source: longer than 256 characters"),
    ({"type": "x" * 129}, "type: longer than 128 characters"),
    ({"time": NOW[:-1] + "." + "0" * 300 + "Z"}, "time: longer than 256 characters"),
    ({"specversion": "0.3"}, "specversion: not 1.0"),
    ({"specversion": "1.0 "}, "specversion: not 1.0"),
    ({"time": "2026-03-01T10:00:00"}, "time: time_not_rfc3339_with_zone"),
    ({"time": "1700000000"}, "time: time_not_rfc3339_with_zone"),
    ({"time": "Sun, 01 Mar 2026 10:00:00 GMT"}, "time: time_not_rfc3339_with_zone"),
    ({"time": "2026-06-30T23:59:60Z"}, "time: time_leap_second"),
    ({"time": "2026-02-30T10:00:00Z"}, "time: time_does_not_exist"),
    ({"time": "9999-12-31T23:59:59-01:00"}, "time: time_out_of_range"),
]


@pytest.mark.parametrize(("changes", "detail"), BAD_ATTRIBUTES)
def test_bad_envelope(changes: Changes, detail: str) -> None:
    value = json.dumps(GENERATED).encode()
    assert refusal(decode(binary_headers(**changes), value)) == ("bad-envelope", f"ce_{detail}")
    assert refusal(decode(STRUCTURED_HEADERS, structured_value(**changes))) == ("bad-envelope", detail)


@pytest.mark.parametrize(
    ("changes", "reason", "detail"),
    [
        *(({n: None}, "bad-envelope", f"{n}: missing") for n in ("specversion", "id", "source", "type", "time")),
        *(({n: 1}, "bad-envelope", f"{n}: not a string") for n in ("specversion", "id", "source", "type", "time")),
        ({"datacontenttype": 1}, "bad-envelope", "datacontenttype: not a string"),
        ({"datacontenttype": "text/plain"}, "wrong-content-type", "content-type: not JSON"),
        ({"data": ABSENT}, "bad-data", "value: model_type"),
        ({"data": ABSENT, "data_base64": "?"}, "bad-envelope", "data_base64: not base64"),
        ({"data": ABSENT, "data_base64": "é"}, "bad-envelope", "data_base64: not base64"),
        ({"data": ABSENT, "data_base64": 7}, "bad-envelope", "data_base64: not a string"),
        ({"data_base64": "e30="}, "bad-envelope", "data_base64: there is data as well"),
        (
            {"data": ABSENT, "data_base64": "ew=="},
            "not-json",
            "value: Invalid JSON: EOF while parsing an object at line 1 column 1",
        ),
    ],
)
def test_bad_structured_event(changes: Changes, reason: str, detail: str) -> None:
    assert refusal(decode(STRUCTURED_HEADERS, structured_value(**changes))) == (reason, detail)


@pytest.mark.parametrize("value", [b"[]", b"null", b"1", b'"x"'])
def test_structured_event_that_is_no_object(value: bytes) -> None:
    assert refusal(decode(STRUCTURED_HEADERS, value)) == ("bad-envelope", "value: not an object")


READ_NAMES = ["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "content-type"]


@pytest.mark.parametrize("name", READ_NAMES)
@pytest.mark.parametrize(("bad", "what"), [(None, "null"), (b"\xff\xfe", "not UTF-8")])
def test_bad_header(name: str, bad: bytes | None, what: str) -> None:
    headers = [(n, v) for n, v in binary_headers() if n != name] + [(name, bad)]
    expected = ("bad-header", f"{name}: {what}")
    if name == "content-type" and bad:
        expected = ("wrong-content-type", "content-type: not JSON")
    assert refusal(decode(headers, json.dumps(GENERATED).encode())) == expected


@pytest.mark.parametrize("name", READ_NAMES)
def test_repeated_header_is_not_guessed_at(name: str) -> None:
    headers = [*binary_headers(), ("content-type", b"application/json")]
    again = next(header for header in headers if header[0] == name)
    refused = decode([*headers, again], json.dumps(GENERATED).encode())
    assert refusal(refused) == ("bad-header", f"{name}: repeated")


def test_headers_that_nobody_reads_may_be_anything() -> None:
    others = [
        ("traceparent", None),
        ("x", b"\xff"),
        ("x", b"\xfe"),
        ("", b""),
        ("CE_ID", b"2"),
        ("ce_id ", None),
    ]
    event = decode([*others, *binary_headers()], json.dumps(GENERATED | {"email": "x"}).encode())
    assert isinstance(event, Event)
    assert event.id == "1"


@pytest.mark.parametrize("headers", [None, [], ()])
def test_no_headers(headers: Headers | None) -> None:
    refused = decode(headers, json.dumps(GENERATED).encode())
    assert refusal(refused) == ("bad-envelope", "ce_specversion: missing")


@pytest.mark.parametrize(
    "content_type",
    [
        b"",
        b";",
        b"text/plain",
        b"application/avro",
        b"application/jsonx",
        b"application/json; charset=utf-16",
        b"application/cloudevents+json; charset=latin-1",
        b"application/cloudevents+avro",
        b"application/cloudevents-batch+json",
    ],
)
def test_wrong_content_type(content_type: bytes) -> None:
    headers = [*binary_headers(), ("Content-Type", content_type)]
    reason, _ = refusal(decode(headers, json.dumps(GENERATED).encode()))
    assert reason == "wrong-content-type"


@pytest.mark.parametrize(
    "content_type",
    [
        b"application/json",
        b"APPLICATION/JSON",
        b"application/json;charset=UTF-8",
        b'application/json ; charset="utf-8"; x=y',
        b"text/json",
        b"application/vnd.billing.v2+json",
    ],
)
@pytest.mark.parametrize("name", ["content-type", "Content-Type", "CONTENT-TYPE"])
def test_json_under_another_name_is_read(name: str, content_type: bytes) -> None:
    headers = [*binary_headers(), (name, content_type)]
    assert isinstance(decode(headers, json.dumps(GENERATED).encode()), Event)


@pytest.mark.parametrize("name", ["content-type", "Content-Type"])
@pytest.mark.parametrize("content_type", [b"application/cloudevents+json", b"Application/CloudEvents+JSON;x=1"])
def test_structured_mode_is_known_by_its_content_type(name: str, content_type: bytes) -> None:
    assert isinstance(decode([(name, content_type)], structured_value()), Event)


@pytest.mark.parametrize("headers", [binary_headers(), STRUCTURED_HEADERS, [], None])
def test_no_value(headers: Headers | None) -> None:
    assert refusal(decode(headers, None)) == ("no-value", "value: missing")


@pytest.mark.parametrize("headers", [binary_headers(), STRUCTURED_HEADERS])
@pytest.mark.parametrize("size", [MAX_VALUE_BYTES + 1, 10 * 1024 * 1024])
def test_too_large(headers: Headers, size: int) -> None:
    reason, detail = refusal(decode(headers, b" " * size))
    assert (reason, str(size) in detail) == ("too-large", True)


def test_largest_value_is_read() -> None:
    value = json.dumps(GENERATED).encode().ljust(MAX_VALUE_BYTES)
    assert isinstance(decode(binary_headers(), value), Event)


@pytest.mark.parametrize("type_", ["prospect-sold", "Prospect-Generated", "balance-changed", "ProspectGenerated"])
def test_unknown_type(type_: str) -> None:
    value = json.dumps(GENERATED).encode()
    for refused in (
        decode(binary_headers(type_), value, topic_type="prospect-generated"),
        decode(STRUCTURED_HEADERS, structured_value(type_)),
    ):
        reason, detail = refusal(refused)
        assert reason == "unknown-type"
        assert type_ not in detail


def test_wrong_topic() -> None:
    refused = decode(
        binary_headers("prospect-exported"), json.dumps(GENERATED).encode(), topic_type="prospect-generated"
    )
    assert refusal(refused) == ("wrong-topic", "type: prospect-exported in a topic for prospect-generated")


@both_modes
def test_last_of_two_equal_keys_counts(read: Read) -> None:
    event = read("prospect-generated", b'{"account_id":"a","prospect_id":"p","account_id":"b"}')
    assert isinstance(event, Event)
    assert event.data.account_id == "b"


@both_modes
def test_null_bounce_type_counts_as_absent(read: Read) -> None:
    event = read("email-bounced", json.dumps(BOUNCED | {"bounce_type": None}).encode())
    assert isinstance(event, Event)
    assert event.data.bounce_type == "hard"


def test_time_is_told_where_the_envelope_could_be_read() -> None:
    refused = decode(binary_headers(), b"{")
    assert isinstance(refused, Unreadable)
    assert refused.time is not None
    assert refused.time.isoformat() == "2026-03-01T10:00:00+00:00"


def test_every_reason_is_explained() -> None:
    assert tuple(reasons_of("message")) == get_args(UnreadableReason)


def test_detail_is_bounded() -> None:
    refused = decode_outgoing(binary_headers("balance-changed"), b'{"cause":{}}')
    reason, detail = refusal(refused)
    assert reason == "bad-data"
    assert detail.startswith("account_id: missing, sequence: missing")
    assert len(detail) <= DETAIL_CHARACTERS_MAX


names = st.sampled_from([*READ_NAMES, "Content-Type", "x"]) | st.text()
contents = (
    (
        st.sampled_from([NOW, "1.0", "application/json", "application/cloudevents+json", *DATA, *OUTGOING]).map(
            str.encode
        )
    )
    | st.none()
    | st.binary()
    | st.text().map(str.encode)
)
any_headers = st.none() | st.lists(st.tuples(names, contents)) | st.permutations(binary_headers("plan-changed"))
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(list(PLAN)), inner),
).map(lambda value: json.dumps(value).encode())


@given(
    headers=any_headers,
    value=st.none() | st.binary() | any_json,
    topic_type=st.none() | st.sampled_from(list(DATA)),
)
@example(headers=STRUCTURED_HEADERS, value=b'{"specversion":{}}', topic_type=None)
def test_nothing_raises(headers: Headers | None, value: bytes | None, topic_type: str | None) -> None:
    for result in (decode(headers, value, topic_type=topic_type), decode_outgoing(headers, value)):
        assert isinstance(result, Event | Unreadable)


CANARY = "jane.doe@example.org"
# What a canary can do to the place that it is put into: itself, or bent out of any shape that is accepted.
canaries = st.sampled_from(
    [CANARY, CANARY * 20, f"\0{CANARY}", [CANARY], {CANARY: CANARY}, {"account_id": {CANARY: 1}}]
)


@given(data=st.data(), type_=st.sampled_from([*DATA, CANARY]), canary=canaries)
def test_detail_never_repeats_a_value(data: st.DataObject, type_: str, canary: Any) -> None:
    fields = DATA.get(type_, PLAN)
    spoilt = data.draw(st.sets(st.sampled_from(list(INCOMING.get(type_, PlanChanged).model_fields)), min_size=1))
    body = json.dumps(fields | dict.fromkeys(spoilt, canary) | {CANARY: canary}).encode()
    cut = data.draw(st.integers(0, len(body)))
    attribute = data.draw(st.sampled_from(["specversion", "id", "source", "type", "time", "datacontenttype"]))
    spoilt_structured = structured_value(type_, **{attribute: canary, "data_base64": canary})
    spoilt_headers = [
        *binary_headers(type_, **{attribute: json.dumps(canary)}),
        ("content-type", CANARY.encode()),
    ]
    for result in (
        decode(binary_headers(type_), body),
        decode(binary_headers(type_), body[:cut]),
        decode(spoilt_headers, body),
        decode(spoilt_headers[:-1], body),
        decode(STRUCTURED_HEADERS, spoilt_structured),
        decode(STRUCTURED_HEADERS, spoilt_structured[:cut]),
        decode(STRUCTURED_HEADERS, structured_value(type_, data=canary)),
        decode_outgoing(binary_headers("balance-changed"), body),
    ):
        if isinstance(result, Unreadable):
            assert CANARY not in result.detail
            assert len(result.detail) <= DETAIL_CHARACTERS_MAX
