"""`credits trigger`: sends a test event."""

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import typer

from credit_service.cli.shared.connections import kafka_of, settings_or_exit
from credit_service.cli.shared.errors import CommandFailed, WrongUse
from credit_service.cli.shared.output import Format, Output, put
from credit_service.cli.shared.run import run

if TYPE_CHECKING:
    from credit_contracts import Encoded, Event, IncomingData
    from credit_service.kafka.connect.connection import KafkaConnection

SEND_SECONDS_MAX = 15
UNLIMITED = "unlimited"

Field = Annotated[str | None, typer.Option(rich_help_panel="Data of the event", show_default=False)]
Count = Annotated[int | None, typer.Option(rich_help_panel="Data of the event", show_default=False)]


def trigger(
    event: Annotated[str, typer.Argument(help="The type of the event, which is the incoming topic's name.")],
    account: Annotated[str, typer.Argument(help="The account's id.")],
    prospect: Field = None,
    campaign: Field = None,
    bounce_type: Field = None,
    plan_id: Field = None,
    monthly_credits: Annotated[
        str | None,
        typer.Option(metavar="N|unlimited", rich_help_panel="Data of the event", show_default=False),
    ] = None,
    seats: Count = None,
    email_accounts: Count = None,
    effective_at: Field = None,
    billing_anchor_at: Field = None,
    time_zone: Field = None,
    purchase_id: Field = None,
    bought: Annotated[
        int | None, typer.Option("--credits", rich_help_panel="Data of the event", show_default=False)
    ] = None,
    expires_at: Field = None,
    from_campaign: Field = None,
    to_campaign: Field = None,
    stage: Field = None,
    event_id: Annotated[str | None, typer.Option("--id", help="The event's id; a repeat has no second effect.")] = None,
    source: Annotated[str, typer.Option(help="The event's source.")] = "/credits-cli",
    time: Annotated[str | None, typer.Option(help="The event's time, RFC 3339 with a zone; now if not given.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the event and send nothing.")] = False,
    output: Output = Format.TEXT,
) -> None:
    """Send a test event to Kafka as its producer would, and print its topic, partition and offset.

    Example: [cyan]credits trigger plan-changed acme --plan-id pro --monthly-credits 500[/]

    Example: [cyan]credits trigger prospect-generated acme --prospect p-1[/]
    """
    settings = settings_or_exit()
    given = {
        "prospect_id": ("--prospect", prospect),
        "campaign_id": ("--campaign", campaign),
        "bounce_type": ("--bounce-type", bounce_type),
        "plan_id": ("--plan-id", plan_id),
        "monthly_credits": ("--monthly-credits", monthly_credits),
        "seats": ("--seats", seats),
        "email_accounts": ("--email-accounts", email_accounts),
        "effective_at": ("--effective-at", effective_at),
        "billing_anchor_at": ("--billing-anchor-at", billing_anchor_at),
        "time_zone": ("--time-zone", time_zone),
        "purchase_id": ("--purchase-id", purchase_id),
        "credits": ("--credits", bought),
        "expires_at": ("--expires-at", expires_at),
        "from_campaign_id": ("--from-campaign", from_campaign),
        "to_campaign_id": ("--to-campaign", to_campaign),
        "stage": ("--stage", stage),
    }
    made = _event(event, account, given, event_id or str(uuid4()), source, time)
    encoded = _encoded(made)
    connection = kafka_of(settings)
    place = None if dry_run else run(_send(connection, made.type, encoded))
    _print(made, connection.topic(made.type), place, output)


def _event(
    event_type: str, account_id: str, given: dict[str, tuple[str, Any]], event_id: str, source: str, time: str | None
) -> "Event[IncomingData]":
    from pydantic import ValidationError

    from credit_contracts import INCOMING, Event

    model = INCOMING.get(event_type)
    if model is None:
        raise WrongUse(f"{event_type} is no incoming event: one of {', '.join(INCOMING)}")
    for field, (option, value) in given.items():
        if value is not None and field not in model.model_fields:
            raise WrongUse(f"{event_type} has no {option}")
    data = {field: value for field, (_, value) in given.items() if value is not None}
    if "monthly_credits" in data:
        data["monthly_credits"] = _monthly_credits(data["monthly_credits"])
    occurred_at = _time(time)
    try:
        checked = model.model_validate({"account_id": account_id} | data, context=occurred_at)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        option = given.get(str(first["loc"][0]), ("ACCOUNT", None))[0]
        raise WrongUse(
            f"{event_type} needs {option}" if first["type"] == "missing" else f"{option}: {first['msg']}"
        ) from None
    return Event(source, event_id, event_type, occurred_at, checked)


def _monthly_credits(given: str) -> int | None:
    if given == UNLIMITED:
        return None
    if not given.isdecimal():
        raise WrongUse("--monthly-credits: a whole number, or unlimited")
    return int(given)


def _time(given: str | None) -> datetime:
    from pydantic_core import PydanticCustomError

    from credit_contracts.times import parse_time

    if given is None:
        return datetime.now(UTC)
    try:
        return parse_time(given)
    except PydanticCustomError as error:
        raise WrongUse(f"--time: {error}") from None


def _encoded(event: "Event[IncomingData]") -> "Encoded":
    """Encodes the event; raises `WrongUse` if the service could not read it."""
    from credit_contracts import Unreadable, decode, encode

    encoded = encode(event)
    read = decode(encoded.headers, encoded.value, topic_type=event.type)
    if isinstance(read, Unreadable):
        raise WrongUse(f"the service could not read this: {read.detail}")
    return encoded


async def _send(connection: "KafkaConnection", event_type: str, encoded: "Encoded") -> tuple[int, int]:
    """Sends the record to the partition of its key; returns partition and offset once all replicas have it."""
    import asyncio

    from aiokafka import AIOKafkaProducer

    from credit_contracts import partition_for
    from credit_service.kafka.connect.client import create_client
    from credit_service.kafka.topics import partition_counts

    topic = connection.topic(event_type)
    partitions = (await partition_counts(connection, [topic], "write")).get(topic)
    if partitions is None:
        raise CommandFailed(f"topic {topic} is missing: run `credits topics create`")
    producer = create_client(AIOKafkaProducer, connection, acks="all", enable_idempotence=True)
    try:
        async with asyncio.timeout(SEND_SECONDS_MAX):
            await producer.start()
            sent = await producer.send_and_wait(
                topic,
                key=encoded.key,
                value=encoded.value,
                headers=encoded.headers,
                partition=partition_for(encoded.key, partitions),
            )
    finally:
        await producer.stop()
    return sent.partition, sent.offset


def _print(event: "Event[IncomingData]", topic: str, place: tuple[int, int] | None, output: Format) -> None:
    from credit_contracts.times import format_time

    partition, offset = place or (None, None)
    shown = {
        "source": event.source,
        "id": event.id,
        "time": format_time(event.time),
        "topic": topic,
        "partition": partition,
        "offset": offset,
        "data": event.data.model_dump(mode="json", exclude_unset=True),
    }
    if output is Format.JSON:
        put(json.dumps(shown))
        return
    for name, value in shown.items():
        if value is not None:
            put(f"{name:<10}{json.dumps(value) if name == 'data' else value}")
