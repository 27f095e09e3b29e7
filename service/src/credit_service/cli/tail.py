"""`credits tail`: prints the outgoing events as the service publishes them."""

from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer

from credit_service.cli.shared.connections import kafka_of, settings_or_exit
from credit_service.cli.shared.errors import CommandFailed
from credit_service.cli.shared.output import Format, Output, put, say
from credit_service.cli.shared.run import run

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from credit_contracts import BalanceChanged, Event, InsufficientCredits, OutgoingData
    from credit_service.kafka.connect.connection import KafkaConnection

START_SECONDS_MAX = 15
POLL_MS = 500


def tail(
    account: Annotated[str | None, typer.Option(help="Only the events of this account.")] = None,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Also events that were published before.")
    ] = False,
    events_max: Annotated[int | None, typer.Option("--max", min=1, help="End after this many events.")] = None,
    output: Output = Format.TEXT,
) -> None:
    """Print outgoing events until Ctrl-C: balance changes and insufficient credits, a line each.

    With [cyan]--output json[/] each line is a CloudEvent.

    Example: [cyan]credits tail --account acme[/]
    """
    settings = settings_or_exit()
    run(_tail(kafka_of(settings), account, from_beginning, events_max, output))


async def _tail(
    connection: "KafkaConnection", account: str | None, from_beginning: bool, events_max: int | None, output: Format
) -> None:
    from credit_contracts import encode_structured

    shown = 0
    async with aclosing(_events(connection, from_beginning)) as events:
        async for event in events:
            if account is not None and event.data.account_id != account:
                continue
            put(encode_structured(event).value.decode() if output is Format.JSON else _line(event))
            shown += 1
            if shown == events_max:
                return


async def _events(connection: "KafkaConnection", from_beginning: bool) -> "AsyncGenerator[Event[OutgoingData]]":
    """Yields the committed events of the outgoing topics."""
    import asyncio

    from aiokafka import TopicPartition

    from credit_contracts import OUTGOING_TOPICS, Unreadable, decode_outgoing
    from credit_service import bounds
    from credit_service.kafka.connect.client import create_client
    from credit_service.kafka.fetch.portion_consumer import PortionConsumer
    from credit_service.kafka.fetch.portions import Fault, OutOfRange
    from credit_service.kafka.topics import partition_counts

    topics = [connection.topic(name) for name in OUTGOING_TOPICS]
    counts = await partition_counts(connection, topics, "read")
    if missing := [topic for topic in topics if topic not in counts]:
        raise CommandFailed(f"topics are missing: {', '.join(missing)}; run `credits topics create`")
    consumer = create_client(
        PortionConsumer,
        connection,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    try:
        async with asyncio.timeout(START_SECONDS_MAX):
            await consumer.start()
            consumer.assign([TopicPartition(topic, n) for topic in topics for n in range(counts[topic])])
            await (consumer.seek_to_beginning() if from_beginning else consumer.seek_to_end())
        say(f"Watching {' and '.join(topics)}; Ctrl-C ends.")
        while True:
            for portion in await consumer.portions(
                timeout_ms=POLL_MS, records_max=bounds.POLL_RECORDS_MAX, bytes_max=bounds.POLL_BYTES_MAX
            ):
                at = f"{portion.topic}, partition {portion.partition.partition}"
                for record in portion.records:
                    event = decode_outgoing(record.headers, record.value)
                    if isinstance(event, Unreadable):
                        say(f"unreadable: {at}, offset {record.offset}: {event.detail}")
                    else:
                        yield event
                if isinstance(portion.fault, Fault):
                    say(f"unreadable: {at}, from offset {portion.fault.offset} on: {portion.fault.cause}")
                    if portion.fault.until is None:
                        consumer.pause(portion.partition)
                    else:
                        consumer.seek(portion.partition, portion.fault.until)
                elif isinstance(portion.fault, OutOfRange):
                    say(f"{at}: retention removed the next messages, going on where the log begins now")
                    await consumer.seek_to_beginning(portion.partition)
    finally:
        await consumer.stop()


def _line(event: "Event[OutgoingData]") -> str:
    from credit_contracts import BalanceChanged

    data = event.data
    what = _change(data) if isinstance(data, BalanceChanged) else _decline(data)
    about = f"  prospect {data.prospect_id}" if data.prospect_id else ""
    at = event.time.replace(tzinfo=None).isoformat(" ", "seconds")
    return f"{at}Z  {data.account_id}  {what}{about}  by {data.cause.type} {data.cause.id}"


def _change(data: "BalanceChanged") -> str:
    before, after = ("unlimited" if b is None else b for b in (data.previous_balance, data.balance))
    return f"#{data.sequence}  {data.reason}  {data.delta:+}  {before} -> {after}"


def _decline(data: "InsufficientCredits") -> str:
    return f"declined  {data.shortfall} short  decline {data.declined_in_period} of this period"
