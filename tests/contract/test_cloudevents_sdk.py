"""The codec held against the CloudEvents SDK: what either writes, the other reads the same."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.kafka import (
    KafkaMessage,
    from_kafka_event,
    to_binary_event,
    to_structured_event,
)
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from credit_contracts import (
    BalanceChanged,
    Cause,
    CreditsPurchased,
    EmailBounced,
    Encoded,
    Event,
    IncomingData,
    InsufficientCredits,
    OutgoingData,
    PlanChanged,
    ProspectDeleted,
    ProspectExported,
    ProspectGenerated,
    ProspectImported,
    ProspectStageChanged,
    ProspectTransferred,
    decode,
    decode_outgoing,
    encode,
    encode_structured,
)
from credit_contracts.naming import topic_name

A_MOMENT = timedelta(microseconds=1)

Write = Callable[[Event[IncomingData | OutgoingData]], Encoded]
SdkWrite = Callable[[BaseCloudEvent], KafkaMessage]

ids = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=128)
stages = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=128)
amounts = st.integers(0, 10**9)
zones = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
times = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=zones)  # noqa: DTZ001
incoming = st.one_of(
    st.builds(ProspectGenerated, account_id=ids, prospect_id=ids, campaign_id=st.none() | ids),
    st.builds(ProspectExported, account_id=ids, prospect_id=ids),
    st.builds(EmailBounced, account_id=ids, prospect_id=ids, bounce_type=st.sampled_from(["hard", "soft"])),
    st.builds(
        PlanChanged,
        account_id=ids,
        plan_id=ids,
        monthly_credits=st.none() | amounts,
        seats=st.none() | amounts,
        email_accounts=st.none() | amounts,
        time_zone=st.sampled_from([None, "UTC", "Europe/Paris", "America/Argentina/Buenos_Aires"]),
    ),
    st.builds(
        CreditsPurchased, account_id=ids, purchase_id=ids, credits=st.integers(1, 10**9), expires_at=st.none() | times
    ),
    st.builds(ProspectImported, account_id=ids, prospect_id=ids),
    st.builds(
        ProspectTransferred,
        account_id=ids,
        prospect_id=ids,
        from_campaign_id=st.none() | ids,
        to_campaign_id=st.none() | ids,
    ),
    st.builds(ProspectStageChanged, account_id=ids, prospect_id=ids, stage=stages),
    st.builds(ProspectDeleted, account_id=ids, prospect_id=ids),
)
causes = st.builds(Cause, source=ids, id=ids, type=ids)
outgoing = st.one_of(
    st.builds(
        BalanceChanged,
        account_id=ids,
        sequence=st.integers(1, 2**63 - 1),
        previous_balance=st.none() | amounts,
        balance=st.none() | amounts,
        delta=st.integers(-(10**9), 10**9),
        reason=st.sampled_from(["charge", "refund", "renewal", "plan_change", "purchase", "lapse"]),
        cause=causes,
        prospect_id=st.none() | ids,
        unlimited=st.booleans(),
        period_ends_at=st.none() | times,
        occurred_at=times,
        recorded_at=times,
    ),
    st.builds(
        InsufficientCredits,
        account_id=ids,
        required=st.integers(1, 10**9),
        available=amounts,
        shortfall=st.integers(1, 10**9),
        cause=causes,
        prospect_id=st.none() | ids,
        declined_in_period=st.integers(1, 10**9),
        period_ends_at=st.none() | times,
        occurred_at=times,
        recorded_at=times,
    ),
)


def _event(data: Any, source: str, id_: str, time: datetime) -> Event[Any]:
    if isinstance(data, PlanChanged):
        data = data.model_copy(update={"effective_at": time.astimezone(UTC)})
    if isinstance(data, CreditsPurchased) and data.expires_at is not None:
        data = data.model_copy(update={"expires_at": max(data.expires_at, time.astimezone(UTC) + A_MOMENT)})
    return Event(source, id_, topic_name(type(data)), time.astimezone(UTC), data)


incoming_events = st.builds(_event, incoming, ids, ids, times)
outgoing_events = st.builds(_event, outgoing, ids, ids, times)


@pytest.mark.parametrize("write", [to_binary_event, to_structured_event])
@given(event=incoming_events, zone=zones)
def test_we_read_what_the_sdk_writes(write: SdkWrite, event: Event[IncomingData], zone: timezone) -> None:
    written = write(
        CloudEvent(
            {
                "id": event.id,
                "source": event.source,
                "type": event.type,
                "time": event.time.astimezone(zone),
                "datacontenttype": "application/json",
                "subject": "a subject",
                "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            },
            event.data.model_dump(mode="json"),
        )
    )
    assert decode(list(written.headers.items()), written.value, topic_type=event.type) == event


@given(event=incoming_events)
def test_we_read_data_that_the_sdk_writes_as_base64(event: Event[IncomingData]) -> None:
    attributes = {"id": event.id, "source": event.source, "type": event.type, "time": event.time}
    written = to_structured_event(CloudEvent(attributes, event.data.model_dump_json().encode()))
    assert b"data_base64" in written.value
    assert decode(list(written.headers.items()), written.value) == event


@pytest.mark.parametrize("write", [encode, encode_structured])
@given(event=incoming_events | outgoing_events)
def test_the_sdk_reads_what_we_write(write: Write, event: Event[IncomingData | OutgoingData]) -> None:
    written = write(event)
    read = from_kafka_event(KafkaMessage(dict(written.headers), None, written.value))
    assert read.get_attributes() == {
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "time": event.time,
        "datacontenttype": "application/json",
    }
    assert read.get_data() == json.loads(event.data.model_dump_json())
    assert written.key.decode() == event.data.account_id


@pytest.mark.parametrize("write", [encode, encode_structured])
@given(event=incoming_events)
def test_we_read_what_we_write(write: Write, event: Event[IncomingData]) -> None:
    written = write(event)
    assert decode(written.headers, written.value, topic_type=event.type) == event
    assert write(event) == written


@pytest.mark.parametrize("write", [encode, encode_structured])
@given(event=outgoing_events)
def test_consumers_read_what_we_write(write: Write, event: Event[OutgoingData]) -> None:
    written = write(event)
    assert decode_outgoing(written.headers, written.value) == event
