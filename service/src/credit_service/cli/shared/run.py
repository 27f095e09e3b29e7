"""Runs the asynchronous part of a command, and turns the errors of servers into one line."""

import logging
from collections.abc import Coroutine
from contextlib import closing
from typing import TypeVar

from credit_service.cli.shared.errors import CommandFailed, WrongUse

T = TypeVar("T")


def run(work: Coroutine[None, None, T]) -> T:
    """Runs `work` to its end; raises `CommandFailed` or `WrongUse` if a server does not answer or refuses."""
    # Ctrl-C may come before the work has begun; Python would then warn of a coroutine that was never awaited.
    with closing(work):
        return _run(work)


def _run(work: Coroutine[None, None, T]) -> T:
    from credit_service.application.errors import SessionsShared
    from credit_service.runtime.loop import run_in_loop

    # The command ends with one line about the error; the libraries would log it as well.
    logging.disable()
    try:
        return run_in_loop(work)
    except (CommandFailed, WrongUse):
        raise
    except SessionsShared as error:
        raise WrongUse(str(error)) from None
    except Exception as error:
        from credit_service.cli.shared.server_errors import describe_server_error

        if problem := describe_server_error(error):
            raise CommandFailed(problem) from None
        raise
