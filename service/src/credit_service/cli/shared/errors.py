"""How a command ends when not all is well."""

import typer


class WrongUse(typer.TyperException):
    """The arguments or the settings are wrong; trying again will not help."""

    exit_code = 2


class Failed(typer.TyperException):
    """The arguments are right, and yet it could not be done."""

    exit_code = 1
