"""The help of the commands: the panels that group them, and paragraphs that flow with the terminal."""

import inspect
from typing import Final

import typer

RUN: Final = "Run"
LOOK: Final = "Look"
DECIDE: Final = "Decide"
REPAIR: Final = "Repair"
TRY_OUT: Final = "Try out"


def join_lines(app: typer.Typer) -> None:
    """Joins the lines of each paragraph in the help of all commands; typer would keep the breaks of the docstrings."""
    for command in app.registered_commands:
        text = inspect.cleandoc(command.help or inspect.getdoc(command.callback) or "")
        command.help = "\n\n".join(paragraph.replace("\n", " ") for paragraph in text.split("\n\n"))
    for group in app.registered_groups:
        if group.typer_instance is not None:
            join_lines(group.typer_instance)
