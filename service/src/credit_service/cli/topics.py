"""`credits topics`."""

import json
from typing import Annotated

import typer

from credit_service.cli.faults import Failed
from credit_service.cli.output import Format, Output, put
from credit_service.cli.run import kafka_of, run, settings_or_exit

app = typer.Typer(help="The Kafka topics that the service reads and writes.", no_args_is_help=True)


@app.callback()
def topics() -> None:
    """The Kafka topics that the service reads and writes."""


@app.command()
def create(
    replication_factor: Annotated[
        int | None, typer.Option(min=1, max=32767, help="Copies of each topic; the broker's default if not given.")
    ] = None,
    output: Output = Format.TEXT,
) -> None:
    """Create the topics that are missing, as the contracts say; those that exist are left as they are.

    Example: [cyan]credits topics create --replication-factor 3[/]
    """
    settings = settings_or_exit()
    from credit_service.kafka.topics import TopicsRefused, create_topics

    try:
        made = run(create_topics(kafka_of(settings), replication_factor))
    except TopicsRefused as error:
        raise Failed(str(error)) from None
    if output is Format.JSON:
        put(json.dumps([{"name": topic.name, "created": topic.created} for topic in made]))
        return
    for topic in made:
        put(f"{'created' if topic.created else 'exists '}  {topic.name}")
