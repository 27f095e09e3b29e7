"""Any record is read, whatever its bytes."""

import pytest

from credit_contracts.envelope import Unreadable
from credit_service.application.record import read_record
from credit_service.domain.event import Place


@pytest.mark.parametrize("timestamp_ms", [-1, 0, 2**63 - 1])
def test_what_is_unreadable_stands_at_kafkas_time_however_absurd(timestamp_ms: int) -> None:
    record = read_record(Place("email-bounced", 0, 0), "email-bounced", None, b"not json", (), timestamp_ms)
    assert isinstance(record.content, Unreadable)
    assert 1970 <= record.order[0].year <= 9999
