"""`credits serve`: runs the service."""

from credit_service.cli.shared.connections import settings_or_exit
from credit_service.cli.shared.errors import CommandFailed, WrongUse


def serve() -> int:
    """Run the service until SIGTERM or Ctrl-C: events in, ledger, events out, and HTTP.

    Example: [cyan]CREDITS_HTTP_PORT=9080 CREDITS_HEALTH_PORT=9081 credits serve[/]
    """
    settings = settings_or_exit()
    import structlog

    from credit_service.application.errors import SessionsShared
    from credit_service.bootstrap.serve import serve as run_service
    from credit_service.http.server import CannotListen
    from credit_service.runtime.logging import configure_logging
    from credit_service.runtime.loop import run_in_loop

    configure_logging(settings.log_format, settings.log_level)
    try:
        return run_in_loop(run_service(settings))
    except CannotListen as error:
        raise CommandFailed(str(error)) from None
    except SessionsShared as error:
        raise WrongUse(str(error)) from None
    except Exception:  # a defect; it goes to the log like any other
        structlog.get_logger(__name__).exception("ended by an error")
        return 1
