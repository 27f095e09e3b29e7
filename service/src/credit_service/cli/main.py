"""The command `credits`: data on stdout, messages on stderr, exit code 0 only on success."""

import sys
from collections.abc import Callable, Mapping

import typer
import typer.core

from credit_service.cli import account, adjust, asyncapi, migrate, outbox, resume, serve, tail, topics, trigger
from credit_service.cli.dead_letters import commands as dead_letters
from credit_service.cli.doctor import doctor
from credit_service.cli.explain.command import explain
from credit_service.cli.opening.command import open_customers
from credit_service.cli.reconcile.command import reconcile
from credit_service.cli.refunds import commands as refunds
from credit_service.cli.replay.command import replay
from credit_service.cli.shared.panels import DECIDE, LOOK, REPAIR, RUN, TRY_OUT, join_lines
from credit_service.cli.skip import skip
from credit_service.cli.tokens import commands as tokens
from credit_service.runtime.tracebacks import describe

EXIT_DEFECT = 1
EXIT_INTERRUPTED = 130

COMMANDS: Mapping[str, Mapping[str, Callable[..., int | None] | typer.Typer]] = {
    RUN: {
        "migrate": migrate.migrate,
        "topics": topics.app,
        "tokens": tokens.app,
        "open": open_customers,
        "serve": serve.serve,
    },
    LOOK: {
        "doctor": doctor,
        "account": account.app,
        "explain": explain,
        "tail": tail.tail,
        "asyncapi": asyncapi.asyncapi,
    },
    DECIDE: {
        "refunds": refunds.app,
        "adjust": adjust.adjust,
        "dead-letters": dead_letters.app,
        "outbox": outbox.app,
    },
    REPAIR: {
        "resume": resume.resume,
        "skip": skip,
        "replay": replay,
        "reconcile": reconcile,
    },
    TRY_OUT: {
        "trigger": trigger.trigger,
    },
}
"""The commands by panel, in the order of the help."""


class InOrder(typer.core.TyperGroup):
    """Lists the commands in the order of the table; typer would list all groups last."""

    def list_commands(self, ctx: object) -> list[str]:  # noqa: ARG002 - the order is always the same
        """The names of the commands."""
        return [name for panel in COMMANDS.values() for name in panel]


app = typer.Typer(
    name="credits",
    cls=InOrder,
    help="The credit service: Kafka events in, a ledger of credits in Postgres, Kafka events out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for panel, commands in COMMANDS.items():
    for name, command in commands.items():
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name, rich_help_panel=panel)
        else:
            settings = adjust.NEGATIVE_NUMBERS if command is adjust.adjust else None
            app.command(name, context_settings=settings, rich_help_panel=panel)(command)
join_lines(app)


def main() -> int:
    """Runs a command, and returns its exit code; an error is one line on stderr."""
    try:
        exit_code: int | None = app(prog_name="credits", standalone_mode=False)
    except typer.TyperException as error:
        # Without arguments typer has printed the help, and the message is empty.
        if message := error.format_message():
            sys.stderr.write(f"credits: {message}\n")
        return error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except Exception as error:  # a defect, with any message
        sys.stderr.write(f"credits: this is a defect of the command\n{describe(error)}\n")
        return EXIT_DEFECT
    return exit_code or 0
