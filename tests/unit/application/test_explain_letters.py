"""The readable parts of a dead letter."""

from datetime import UTC, datetime

import pytest

from credit_contracts import Event, ProspectGenerated, encode, encode_structured
from credit_contracts.envelope import Encoded
from credit_service.application.explain.letters import names_prospect, read_letter

AT = datetime(2026, 3, 1, tzinfo=UTC)
EVENT = Event("/s", "e-1", "prospect-generated", AT, ProspectGenerated(account_id="acme", prospect_id="änn"))


@pytest.mark.parametrize("encoded", [encode(EVENT), encode_structured(EVENT)], ids=["binary", "structured"])
def test_what_can_be_read_is_read_in_both_modes(encoded: Encoded) -> None:
    read = read_letter(encoded.headers, encoded.value)
    assert (read.source, read.id, read.type, read.occurred_at) == ("/s", "e-1", "prospect-generated", AT)
    assert names_prospect(encoded.value, "änn")
    assert not names_prospect(encoded.value, "än")


def test_of_what_is_unreadable_the_envelope_is_read_as_far_as_it_goes() -> None:
    headers = [("ce_id", b"e-1"), ("ce_source", b"/s"), ("ce_type", b"\xff"), ("ce_time", None)]
    read = read_letter(headers, b"{}")
    assert (read.source, read.id, read.type, read.occurred_at) == ("/s", "e-1", None, None)
    structured = read_letter([], b'{"id": "e-2", "source": 7}')
    assert (structured.source, structured.id) == (None, "e-2")
    assert read_letter([], None).id is None


def test_escapes_do_not_hide_a_prospect() -> None:
    assert names_prospect(rb'{"prospect_id": "\u00e4nn"}', "änn")


def test_in_what_is_no_json_the_bytes_are_looked_for() -> None:
    assert names_prospect(b'{"prospect_id": "ann", ', "ann")
    assert not names_prospect(b"\xff\xfe", "ann")
    assert not names_prospect(None, "ann")
    assert not names_prospect(b"[" * 100_000, "ann")
