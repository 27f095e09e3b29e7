from datetime import UTC, datetime

import pytest

from credit_contracts import (
    DEAD_LETTER_TOPIC,
    INCOMING,
    OUTGOING,
    SERVICE_SOURCE,
    TOPICS,
    WRONG_EMAIL,
    BalanceChanged,
    Cause,
    CreditsPurchased,
    EmailBounced,
    Event,
    IncomingData,
    InsufficientCredits,
    PlanChanged,
    ProspectDeleted,
    ProspectExported,
    ProspectGenerated,
    ProspectImported,
    ProspectStageChanged,
    ProspectTransferred,
    Unreadable,
    decode,
    decode_outgoing,
    encode,
    encode_structured,
)
from credit_contracts.dead_letters import PREFIX
from credit_contracts.examples import Example, examples
from credit_contracts.outgoing import balance_changed_id, insufficient_credits_id

BY_NAME = {example.name: example for example in examples()}
INCOMING_EXAMPLES = [e for e in examples() if e.topic in INCOMING]
OUTGOING_EXAMPLES = [e for e in examples() if e.topic in OUTGOING]
DEAD_LETTERS = examples(DEAD_LETTER_TOPIC)

ACCOUNT = "acc_5f0c"
OTHER_ACCOUNT = "acc_b3e8"

MEANT: dict[str, IncomingData] = {
    "prospect-generated": ProspectGenerated(account_id=ACCOUNT, prospect_id="pro_91be", campaign_id="cam_2d44"),
    "prospect-generated.minimal": ProspectGenerated(account_id="a", prospect_id="p"),
    "prospect-generated.structured": ProspectGenerated(
        account_id=ACCOUNT, prospect_id="pro_77aa", campaign_id="cam_2d44"
    ),
    "prospect-exported": ProspectExported(account_id=ACCOUNT, prospect_id="pro_10c3"),
    "prospect-exported.minimal": ProspectExported(account_id="a", prospect_id="p"),
    "email-bounced": EmailBounced(account_id=ACCOUNT, prospect_id="pro_91be", bounce_type="hard"),
    "email-bounced.soft": EmailBounced(account_id=ACCOUNT, prospect_id="pro_10c3", bounce_type="soft"),
    "email-bounced.minimal": EmailBounced(account_id="a", prospect_id="p", bounce_type="hard"),
    "plan-changed": PlanChanged(
        account_id=ACCOUNT,
        plan_id="growth",
        monthly_credits=1000,
        seats=5,
        email_accounts=10,
        effective_at=datetime(2026, 3, 1, 8, tzinfo=UTC),
        billing_anchor_at=datetime(2026, 3, 1, tzinfo=UTC),
        time_zone="Europe/Paris",
    ),
    "plan-changed.unlimited": PlanChanged(
        account_id=ACCOUNT,
        plan_id="enterprise",
        monthly_credits=None,
        seats=50,
        email_accounts=200,
        effective_at=datetime(2026, 4, 1, tzinfo=UTC),
    ),
    "plan-changed.minimal": PlanChanged(account_id="a", plan_id="starter", monthly_credits=0),
    "credits-purchased": CreditsPurchased(
        account_id=OTHER_ACCOUNT,
        purchase_id="invoice-5120",
        credits=500,
        expires_at=datetime(2027, 3, 10, 14, 20, tzinfo=UTC),
    ),
    "credits-purchased.unexpiring": CreditsPurchased(
        account_id=OTHER_ACCOUNT, purchase_id="invoice-5188", credits=200, expires_at=None
    ),
    "credits-purchased.minimal": CreditsPurchased(account_id="a", purchase_id="i", credits=1),
    "prospect-imported": ProspectImported(account_id=OTHER_ACCOUNT, prospect_id="pro_3fd1"),
    "prospect-imported.minimal": ProspectImported(account_id="a", prospect_id="p"),
    "prospect-transferred": ProspectTransferred(
        account_id=OTHER_ACCOUNT,
        prospect_id="pro_3fd1",
        from_campaign_id="cam_71aa",
        to_campaign_id="cam_9e02",
    ),
    "prospect-transferred.minimal": ProspectTransferred(account_id="a", prospect_id="p"),
    "prospect-stage-changed": ProspectStageChanged(account_id=OTHER_ACCOUNT, prospect_id="pro_58c6", stage=WRONG_EMAIL),
    "prospect-stage-changed.interested": ProspectStageChanged(
        account_id=OTHER_ACCOUNT, prospect_id="pro_3fd1", stage="interested"
    ),
    "prospect-stage-changed.minimal": ProspectStageChanged(account_id="a", prospect_id="p", stage=WRONG_EMAIL),
    "prospect-deleted": ProspectDeleted(account_id=OTHER_ACCOUNT, prospect_id="pro_3fd1"),
    "prospect-deleted.minimal": ProspectDeleted(account_id="a", prospect_id="p"),
}


def test_every_topic_has_a_usual_and_a_minimal_example() -> None:
    assert {name for topic in TOPICS for name in (topic.name, f"{topic.name}.minimal")} <= BY_NAME.keys()


def test_every_incoming_example_has_its_meaning_written_down() -> None:
    assert {example.name for example in INCOMING_EXAMPLES} == MEANT.keys()


@pytest.mark.parametrize("example", INCOMING_EXAMPLES, ids=lambda e: e.name)
def test_incoming_example_means_what_is_written_down(example: Example) -> None:
    event = decode(example.headers, example.value, topic_type=example.topic)
    assert isinstance(event, Event)
    assert event.data == MEANT[example.name]
    assert event.type == example.topic
    assert example.key == event.data.account_id.encode()


def test_time_with_an_offset_is_kept_in_utc() -> None:
    example = BY_NAME["prospect-exported.minimal"]
    event = decode(example.headers, example.value)
    assert isinstance(event, Event)
    assert event.time == datetime(2026, 3, 3, 16, 5, 12, tzinfo=UTC)
    assert event.time.tzinfo is UTC


@pytest.mark.parametrize("example", [e for e in INCOMING_EXAMPLES if "minimal" not in e.name], ids=lambda e: e.name)
def test_usual_incoming_example_is_what_the_codec_writes(example: Example) -> None:
    event = decode(example.headers, example.value)
    assert isinstance(event, Event)
    written = encode_structured(event) if example.is_structured else encode(event)
    assert (written.key, written.value, written.headers) == (example.key, example.value, example.headers)


@pytest.mark.parametrize("example", OUTGOING_EXAMPLES, ids=lambda e: e.name)
def test_outgoing_example_reads_and_writes_byte_for_byte(example: Example) -> None:
    event = decode_outgoing(example.headers, example.value)
    assert isinstance(event, Event)
    written = encode(event)
    assert (written.key, written.value, written.headers) == (example.key, example.value, example.headers)


def test_balance_change_built_from_scratch_is_the_example() -> None:
    data = BalanceChanged(
        account_id=ACCOUNT,
        sequence=2,
        previous_balance=1000,
        balance=999,
        delta=-1,
        reason="charge",
        cause=Cause(source="/campaigns", id="4f1d7a52-6c1f-4f43-9a55-0c8a2f3f7a10", type="prospect-generated"),
        prospect_id="pro_91be",
        unlimited=False,
        period_ends_at=datetime(2026, 3, 31, 22, tzinfo=UTC),
        occurred_at=datetime(2026, 3, 2, 9, 30, 0, 250_000, tzinfo=UTC),
        recorded_at=datetime(2026, 3, 2, 9, 30, 0, 262_415, tzinfo=UTC),
    )
    event = Event(SERVICE_SOURCE, balance_changed_id(ACCOUNT, 2), "balance-changed", data.recorded_at, data)
    example = BY_NAME["balance-changed"]
    assert encode(event).value == example.value
    assert encode(event).headers == example.headers


@pytest.mark.parametrize("example", OUTGOING_EXAMPLES, ids=lambda e: e.name)
def test_outgoing_ids_are_the_services_own(example: Example) -> None:
    event = decode_outgoing(example.headers, example.value)
    assert isinstance(event, Event)
    assert event.source == SERVICE_SOURCE
    match event.data:
        case BalanceChanged(account_id=account_id, sequence=sequence):
            assert event.id == balance_changed_id(account_id, sequence)
        case InsufficientCredits(account_id=account_id):
            position = int(event.id.rpartition(":")[2])
            assert event.id == insufficient_credits_id(account_id, position)


def test_longest_account_id_fits_into_the_ids_made_from_it() -> None:
    account_id, position = "é" * 128, 2**63 - 1
    declined = InsufficientCredits.model_validate(BY_NAME["insufficient-credits"].data)
    data = declined.model_copy(update={"account_id": account_id})
    written = encode(
        Event(
            SERVICE_SOURCE,
            insufficient_credits_id(account_id, position),
            "insufficient-credits",
            data.recorded_at,
            data,
        )
    )
    assert isinstance(decode_outgoing(written.headers, written.value), Event)


@pytest.mark.parametrize("example", DEAD_LETTERS, ids=lambda e: e.name)
def test_dead_letter_without_its_own_headers_is_the_original_and_its_reason(example: Example) -> None:
    own = {name.removeprefix(PREFIX): value for name, value in example.headers if name.startswith(PREFIX)}
    original = [(name, value) for name, value in example.headers if not name.startswith(PREFIX)]
    refused = decode(original, example.value, topic_type=own["topic"].decode())
    assert isinstance(refused, Unreadable)
    assert refused.reason == own["reason"].decode()
    assert refused.detail == own["detail"].decode()
