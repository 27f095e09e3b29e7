"""`credits resume`: reads a paused topic again."""

import json
from typing import Annotated

import typer

from credit_service.cli.shared.connections import kafka_of, settings_or_exit, writing_pool
from credit_service.cli.shared.errors import WrongUse
from credit_service.cli.shared.output import Format, Output, put
from credit_service.cli.shared.run import run


def resume(
    topic: Annotated[str, typer.Argument(help="An incoming topic, by its name in the contracts.")],
    output: Output = Format.TEXT,
) -> int:
    """Resume a topic that the service paused because too many messages were unreadable or refused.

    The exit code is 1 if the topic was not paused.

    Example: [cyan]credits resume email-bounced[/]
    """
    settings = settings_or_exit()
    from credit_contracts.topics import INCOMING_TOPICS

    connection = kafka_of(settings)
    name = connection.event_type(topic)
    if name not in INCOMING_TOPICS:
        raise WrongUse(f"{topic} is no incoming topic: one of {', '.join(INCOMING_TOPICS)}")

    async def resume_topic() -> bool:
        from credit_service.postgres.ledger.offsets import PostgresOffsetStore

        async with writing_pool(settings) as pool:
            return await PostgresOffsetStore(pool).resume_topic(connection.topic(name))

    was_paused = run(resume_topic())
    if output is Format.JSON:
        put(json.dumps({"topic": name, "was_paused": was_paused}))
    else:
        put(f"{name} was paused and is resumed" if was_paused else f"{name} was not paused")
    return 0 if was_paused else 1
