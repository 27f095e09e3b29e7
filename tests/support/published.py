"""Outgoing events, decoded as a consumer decodes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic_core import to_json

from credit_contracts.envelope import Event, binary_headers, decode_outgoing, encode_data
from credit_contracts.outgoing import SERVICE_SOURCE

if TYPE_CHECKING:
    from credit_contracts.outgoing import OutgoingData
    from credit_service.domain.published import Published


def read_back(published: Published) -> Event[OutgoingData]:
    """What a consumer makes of the event; its bytes must be those that the contract's own model writes."""
    value = to_json(published.data)
    headers = binary_headers(SERVICE_SOURCE, published.id, published.type, published.time)
    event = decode_outgoing(headers, value)
    assert isinstance(event, Event), event
    assert encode_data(event.data) == value
    assert event.data.account_id == published.account_id
    return event
