"""The command line: data on stdout, talk on stderr, exit code 0 only where all is well."""

import sys

import typer

from credit_service.cli import account, adjust, asyncapi, migrate, outbox, resume, serve, tail, topics, trigger
from credit_service.cli.dead_letters import commands as dead_letters
from credit_service.cli.doctor import doctor
from credit_service.cli.explain.command import explain
from credit_service.cli.opening.command import open_customers
from credit_service.cli.reconcile.command import reconcile
from credit_service.cli.refunds import commands as refunds
from credit_service.cli.replay.command import replay
from credit_service.cli.skip import skip
from credit_service.cli.tokens import commands as tokens
from credit_service.runtime.tracebacks import describe

EXIT_DEFECT = 1
EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="credits",
    help="The credit service: Kafka events in, a ledger of credits in Postgres, Kafka events out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("migrate")(migrate.migrate)
app.add_typer(topics.app, name="topics")
app.command("asyncapi")(asyncapi.asyncapi)
app.command("serve")(serve.serve)
app.add_typer(account.app, name="account")
app.command("explain")(explain)
app.command("trigger")(trigger.trigger)
app.command("tail")(tail.tail)
app.command("reconcile")(reconcile)
app.command("replay")(replay)
app.command("doctor")(doctor)
app.command("resume")(resume.resume)
app.command("skip")(skip)
app.command("open")(open_customers)
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(outbox.app, name="outbox")
app.add_typer(refunds.app, name="refunds")
app.add_typer(tokens.app, name="tokens")
app.command("adjust", context_settings=adjust.NEGATIVE_NUMBERS)(adjust.adjust)


def main() -> int:
    """Runs the command line; returns the exit code. What goes wrong is one line on stderr."""
    try:
        exit_code: int | None = app(prog_name="credits", standalone_mode=False)
    except typer.TyperException as error:
        # Without arguments the help has been printed, and there is nothing left to say.
        if said := error.format_message():
            sys.stderr.write(f"credits: {said}\n")
        return error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except Exception as error:  # a defect; what it says may be anything
        sys.stderr.write(f"credits: this is a defect of the command\n{describe(error)}\n")
        return EXIT_DEFECT
    return exit_code or 0
