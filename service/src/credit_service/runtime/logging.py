"""Logs to stderr: JSON for machines, lines for people; UTC, and never a payload.

Of an exception only the type and the places in the code are logged, not the message.
"""

import asyncio
import contextlib
import logging
import sys
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Literal, TextIO

import structlog

from credit_service.runtime.log_repeats import RepeatFilter
from credit_service.runtime.tracebacks import describe, named

log = structlog.get_logger(__name__)

NEVER_RETRIEVED = "exception was never retrieved"
LIBRARIES = ("aiokafka", "faststream", "uvicorn", "asyncio")


def configure_logging(log_format: Literal["auto", "json", "console"], level: str) -> None:
    """Has structlog and the libraries' loggers write one format; the libraries from WARNING on."""
    for_people = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler = Handler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(allow=["repeated"])],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(for_people)],
        )
    )
    handler.addFilter(_exceptions_named)
    handler.addFilter(RepeatFilter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("credit_service").setLevel(level.upper())
    for name in LIBRARIES:
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
        library.setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    sys.excepthook = _uncaught
    sys.unraisablehook = lambda fault: _uncaught(fault.exc_type, fault.exc_value, fault.exc_traceback)
    threading.excepthook = lambda fault: _uncaught(fault.exc_type, fault.exc_value, fault.exc_traceback)


class Handler(logging.StreamHandler[TextIO]):
    """Writes a line; if the call was wrong, without its arguments."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Replaces logging's own, which would print all arguments."""
        error = sys.exc_info()[1]
        message = record.msg if isinstance(record.msg, str) else "a line"
        replacement = logging.LogRecord(
            record.name, record.levelno, "", 0, "%s (not written whole: %s)", (message, error and named(error)), None
        )
        # If even this cannot be written, there is nothing left to do.
        with contextlib.suppress(Exception):
            self.stream.write(self.format(replacement) + self.terminator)
            self.flush()


def log_loop_error(_: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    """A loop's exception handler: asyncio's own would show the arguments of callbacks."""
    message = str(context.get("message", "")).partition(" in callback ")[0]
    error = context.get("exception")
    write = log.debug if message.endswith(NEVER_RETRIEVED) and _is_lost_connection(error) else log.error
    write("error in the event loop", cause=message, exc_info=error)


def _is_lost_connection(error: BaseException | None) -> bool:
    """Whether a connection to the database was lost, which the callers that waited for it have received already."""
    return type(error).__module__.startswith("asyncpg.") and str(getattr(error, "sqlstate", "")).startswith("08")


def _rendering(for_people: bool) -> list[structlog.typing.Processor]:
    if for_people:
        return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_written)]
    return [
        structlog.processors.ExceptionRenderer(lambda raised: describe(raised[1])),
        structlog.processors.JSONRenderer(),
    ]


def _written(out: TextIO, raised: structlog.typing.ExcInfo) -> None:
    out.write(f"\n{describe(raised[1])}")


def _exceptions_named(record: logging.LogRecord) -> bool:
    """Replaces exceptions in a message and its arguments by their types."""
    record.msg = _named(record.msg)
    if isinstance(record.args, tuple):
        record.args = tuple(map(_named, record.args))
    elif isinstance(record.args, Mapping):
        record.args = {name: _named(each) for name, each in record.args.items()}
    return True


def _named(each: Any) -> Any:
    return named(each) if isinstance(each, BaseException) else each


def _uncaught(kind: type[BaseException], raised: BaseException | None, trace: TracebackType | None) -> None:
    error = raised or kind()
    log.error("uncaught error", exc_info=(kind, error, trace))
