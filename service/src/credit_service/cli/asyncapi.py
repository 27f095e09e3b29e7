"""`credits asyncapi`."""

from typing import Annotated

import typer

from credit_service.cli.shared.output import put
from credit_service.cli.shared.run import settings_or_exit


def asyncapi(
    default: Annotated[
        bool, typer.Option("--default", help="Of a deployment that has chosen nothing: contracts/asyncapi.json.")
    ] = False,
) -> None:
    """Print the AsyncAPI 3 document of this deployment: topics, messages, headers, keys, schemas, examples.

    It connects to nothing. The service shows the same on /asyncapi.

    Example: [cyan]credits asyncapi[/]
    """
    from credit_service.asyncapi import document

    deployed = document.Deployed() if default else document.Deployed.of(settings_or_exit())
    put(document.rendered(document.asyncapi(deployed)).removesuffix("\n"))
