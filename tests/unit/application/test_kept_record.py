"""The form in which a dead letter keeps its record, and the hashes of one that is too large to be held."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from hashlib import blake2b, sha256

from hypothesis import given
from hypothesis import strategies as st

from credit_contracts.envelope import encode
from credit_contracts.incoming import ProspectGenerated
from credit_service.application.kept_record import content_sha256, digest_of, headers_as_json
from credit_service.application.record import read_record
from credit_service.domain.event import Incoming, Place
from support.small_bounds import small_bounds
from support.traffic import event

AT = Place("prospect-generated", 0, 7)
CONTENT = st.none() | st.binary(max_size=20)
HEADERS = st.lists(st.tuples(st.text(max_size=5), CONTENT), max_size=40)


@given(key=CONTENT, value=CONTENT, headers=HEADERS)
def test_hashes_are_of_each_part_with_its_length_before_it(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    as_json = json.dumps([[n, None if v is None else base64.b64encode(v).decode()] for n, v in headers])
    assert headers_as_json(headers) == as_json
    parts = (key, value, as_json.encode())
    whole = b"".join(b"-" if part is None else b"%d:%b" % (len(part), part) for part in parts)
    assert content_sha256(key, value, headers) == sha256(whole).digest()
    assert digest_of(key, value, headers) == blake2b(whole, digest_size=16).digest()


def test_of_a_record_that_is_too_large_hashes_are_held_and_a_short_key() -> None:
    with small_bounds(RECORD_BYTES_MAX=10, LEFT_OUT_KEY_BYTES_MAX=3):
        held = read_record(AT, AT.topic, b"key", b"value..", [], 0)
        assert (held.withheld, held.value) == (None, b"value..")
        short = read_record(AT, AT.topic, b"key", b"value...", [("n", b"v")], 0)
        long = read_record(AT, AT.topic, b"long", None, [("n", b"v" * 9)], 0)
    assert (short.key, short.value, short.headers) == (b"key", None, [])
    assert short.withheld is not None
    assert short.withheld.content_sha256 == content_sha256(b"key", b"value...", [("n", b"v")])
    assert short.withheld.digest == digest_of(b"key", b"value...", [("n", b"v")])
    assert (short.withheld.key_bytes, short.withheld.value_bytes) == (None, 8)
    assert short.withheld.value_sha256 == sha256(b"value...").digest()
    assert long.withheld is not None
    assert (long.key, long.withheld.key_bytes, long.withheld.value_bytes) == (None, 4, None)
    assert long.withheld.value_sha256 is None


def test_an_event_with_large_headers_of_somebody_else_is_one_all_the_same() -> None:
    record = encode(event(ProspectGenerated(account_id="a", prospect_id="p"), datetime(2026, 1, 1, tzinfo=UTC)))
    with small_bounds(RECORD_BYTES_MAX=5_000):
        read = read_record(AT, AT.topic, record.key, record.value, [*record.headers, ("more", bytes(6_000))], 0)
    assert isinstance(read.content, Incoming)
    assert read.withheld is not None
    assert read.size_bytes < 5_000
