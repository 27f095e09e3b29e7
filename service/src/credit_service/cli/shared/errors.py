"""The two ways in which a command ends without success."""

import typer


class WrongUse(typer.TyperException):
    """The arguments or the settings are wrong; the same command fails again."""

    exit_code = 2


class CommandFailed(typer.TyperException):
    """The arguments are right, but the command could not do its work."""

    exit_code = 1
