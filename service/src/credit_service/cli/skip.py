"""`credits skip`: passes unreadable offsets of a held partition."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from credit_service.cli.shared.connections import kafka_of, settings_or_exit, writing_pool
from credit_service.cli.shared.errors import CommandFailed, WrongUse
from credit_service.cli.shared.operator_options import Operator, Reason, Yes, confirm
from credit_service.cli.shared.output import Format, Output, put, say
from credit_service.cli.shared.run import run

if TYPE_CHECKING:
    from credit_service.application.ports import TopicPartition
    from credit_service.kafka.ranges.ranges import RangeContent
    from credit_service.settings import Settings


def skip(
    topic: Annotated[str, typer.Argument(help="An incoming topic, by its name in the contracts.")],
    partition: Annotated[int, typer.Argument(min=0, help="The number of the partition.")],
    to: Annotated[int, typer.Option(min=1, help="Where to continue: the first offset after the unreadable ones.")],
    reason: Reason,
    operator: Operator,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be skipped, and write nothing.")] = False,
    yes: Yes = False,
    output: Output = Format.TEXT,
) -> int:
    """Skip unreadable offsets of a held partition: they are recorded as a gap, and never decided.

    Readable messages are never skipped. The service continues within half a minute.

    Example: [cyan]credits skip email-bounced 3 --to 1042 --reason "flipped byte, sent again by mailer" --dry-run[/]
    """
    settings = settings_or_exit()
    from credit_contracts.topics import INCOMING_TOPICS

    connection = kafka_of(settings)
    name = connection.event_type(topic)
    if name not in INCOMING_TOPICS:
        raise WrongUse(f"{topic} is no incoming topic: one of {', '.join(INCOMING_TOPICS)}")
    at = (connection.topic(name), partition)
    begin, log_end, found = run(_look(settings, at, to))
    say(f"the stored offset of {name}/{partition} is {begin}; its log ends at {log_end}")
    for fault in found.faults:
        up_to = "" if fault.until is None else f" up to {fault.until}"
        say(f"from {fault.offset}{up_to} it cannot be read: {fault.cause}")
    if found.readable is not None:
        raise CommandFailed(f"offset {found.readable} is readable: nothing from there on is skipped")
    if not found.faults:
        raise CommandFailed(f"there is nothing unreadable from {begin} up to {to}")
    if dry_run:
        say("Nothing was skipped.")
        return 0
    confirm(f"Skip the offsets from {begin} up to {to} of {name}/{partition} for good?", yes=yes)
    if not run(_skip(settings, at, begin, to, log_end, operator, reason)):
        raise CommandFailed("the service has read on meanwhile: nothing was skipped")
    if output is Format.JSON:
        put(json.dumps({"topic": name, "partition": partition, "from": begin, "to": to}))
    else:
        put(f"{name}/{partition} continues at {to}; the skipped offsets are recorded")
    return 0


async def _look(settings: "Settings", at: "TopicPartition", to: int) -> "tuple[int, int, RangeContent]":
    """The partition's stored offset, the end of its log, and what is unreadable in between."""
    from aiokafka import TopicPartition

    from credit_service.kafka.ranges.ranges import Range, range_reader
    from credit_service.kafka.topics import partition_counts
    from credit_service.postgres.ledger.offsets import PostgresOffsetStore

    kafka = kafka_of(settings)
    topic, partition = at
    if partition >= (await partition_counts(kafka, [topic], "read")).get(topic, 0):
        raise WrongUse(f"{kafka.event_type(topic)} has no partition {partition}")
    async with writing_pool(settings) as pool:
        begin = (await PostgresOffsetStore(pool).load([at])).get(at)
    if begin is None:
        raise WrongUse(f"the service has never read {kafka.event_type(topic)}/{partition}")
    async with range_reader(kafka) as reader:
        partition_of = TopicPartition(*at)
        _, log_ends = await reader.bounds([partition_of])
        if not begin < to <= log_ends[partition_of]:
            raise WrongUse(
                f"--to: {to} is not between the stored offset {begin} and the end of the log, {log_ends[partition_of]}"
            )
        return begin, log_ends[partition_of], await reader.look(Range(*at, begin, to))


async def _skip(
    settings: "Settings", at: "TopicPartition", begin: int, to: int, log_end: int, operator: str, reason: str
) -> bool:
    from credit_service.application.operations import Json, recorded
    from credit_service.postgres.ledger.offsets import PostgresOffsetStore
    from credit_service.postgres.operator.operations import PostgresOperationLog

    arguments: dict[str, Json] = {"topic": at[0], "partition": at[1], "from": begin, "to": to}
    async with writing_pool(settings) as pool:
        try:
            async with recorded(PostgresOperationLog(pool), "skip", operator, reason, arguments) as operation:
                is_skipped = await PostgresOffsetStore(pool).skip_gap(at, begin, to, log_end)
                operation.result["is_skipped"] = is_skipped
        except ValueError as error:
            raise WrongUse(str(error)) from None
    return is_skipped
