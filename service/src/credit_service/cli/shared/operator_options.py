"""The options for operator, reason and confirmation."""

import getpass
import sys
from typing import Annotated

import typer

from credit_service.cli.shared.errors import WrongUse


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise WrongUse("--operator: needed, since this system does not say who you are") from None


Operator = Annotated[
    str,
    typer.Option(
        "--operator",
        envvar="CREDITS_OPERATOR",
        default_factory=_user,
        show_default="you",
        help="Who decides; recorded.",
    ),
]
Reason = Annotated[str, typer.Option("--reason", help="Why; recorded for good.")]
AsItStands = Annotated[
    bool,
    typer.Option(
        "--as-it-stands", help="Decide without waiting for unread events of the account, and without due renewals."
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


def confirm(question: str, *, yes: bool) -> None:
    """Asks a person at the terminal unless `yes` is given; a no ends the command before it has changed anything."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise WrongUse("no terminal to ask on: add --yes")
    typer.confirm(question, abort=True, err=True)
