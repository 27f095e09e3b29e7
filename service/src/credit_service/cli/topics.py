"""`credits topics`: creates the topics, and lists the ACLs that Kafka needs."""

import json
import shlex
from typing import Annotated

import typer

from credit_service.cli.shared.connections import kafka_of, settings_or_exit
from credit_service.cli.shared.errors import CommandFailed, WrongUse
from credit_service.cli.shared.output import Format, Output, put
from credit_service.cli.shared.panels import LOOK, RUN
from credit_service.cli.shared.run import run

app = typer.Typer(help="The Kafka topics that the service reads and writes.", no_args_is_help=True)


@app.callback()
def topics() -> None:
    """The Kafka topics that the service reads and writes."""


@app.command(rich_help_panel=RUN)
def create(
    replication_factor: Annotated[
        int | None, typer.Option(min=1, max=32767, help="Copies of each topic; the broker's default if not given.")
    ] = None,
    output: Output = Format.TEXT,
) -> None:
    """Create missing topics as the contracts define them; existing topics are not changed.

    Example: [cyan]credits topics create --replication-factor 3[/]
    """
    settings = settings_or_exit()
    from credit_service.kafka.topics import TopicsRefused, create_topics

    try:
        made = run(create_topics(kafka_of(settings), replication_factor))
    except TopicsRefused as error:
        raise CommandFailed(str(error)) from None
    if output is Format.JSON:
        put(json.dumps([{"name": topic.name, "created": topic.created} for topic in made]))
        return
    for topic in made:
        put(f"{'created' if topic.created else 'exists '}  {topic.name}")


@app.command(rich_help_panel=LOOK)
def acls(
    principal: Annotated[str, typer.Option(help="The principal to allow, as Kafka names it.")],
    uses: Annotated[
        list[str] | None, typer.Option("--for", help="The service (serve) or a command; may be given several times.")
    ] = None,
    output: Output = Format.TEXT,
) -> None:
    """List the ACLs that Kafka needs, as calls of Kafka's own tool, without connecting to Kafka.

    Example: [cyan]credits topics acls --principal User:credit-service --for serve[/]
    """
    settings = settings_or_exit()
    from credit_service.kafka.connect.acls import USES, required_acls

    connection = kafka_of(settings)
    chosen = uses or ["serve"]
    if unknown := [use for use in chosen if use not in USES]:
        raise WrongUse(f"--for {unknown[0]}: is none of {', '.join(USES)}")
    needed = dict.fromkeys(right for use in USES if use in chosen for right in required_acls(connection, use))
    if output is Format.JSON:
        put(json.dumps([{"principal": principal, **right._asdict()} for right in needed]))
        return
    tool = f"kafka-acls.sh --bootstrap-server {settings.kafka_bootstrap_servers} --add"
    for right in needed:
        operation = right.operation.title().replace("-", "")
        put(f"{tool} --allow-principal {shlex.quote(principal)} --operation {operation} --{right.kind} {right.name}")
