"""`credits asyncapi`: prints the AsyncAPI document."""

from typing import Annotated

import typer

from credit_service.cli.shared.connections import settings_or_exit
from credit_service.cli.shared.output import put


def asyncapi(
    default: Annotated[
        bool, typer.Option("--default", help="For a deployment with default settings, as in contracts/asyncapi.json.")
    ] = False,
) -> None:
    """Print the AsyncAPI 3 document of this deployment: topics, messages, headers, keys, schemas, examples.

    The command connects to no server. The service shows the same document on /asyncapi.

    Example: [cyan]credits asyncapi[/]
    """
    from credit_service.asyncapi import document

    deployed = document.Deployed() if default else document.Deployed.of(settings_or_exit())
    put(document.rendered(document.asyncapi(deployed)).removesuffix("\n"))
