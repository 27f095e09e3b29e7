"""Tracebacks with types and places alone: an exception's message may have a payload, a row, or a password."""

import errno
import traceback
from collections.abc import Iterator

FRAMES_MAX = 40
ERRORS_MAX = 10
OUR_OWN = "credit_service"


def describe(error: BaseException) -> str:
    """The error and its causes, the first cause first, each with its places in the code."""
    chain = list(_with_causes(error))
    return "\n".join(f"{''.join(_places(one))}{named(one)}" for one in reversed(chain))


def named(error: BaseException) -> str:
    """The type of the error, and the error code of the system or the database."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    code = getattr(error, "sqlstate", None) or errno.errorcode.get(getattr(error, "errno", None) or 0)
    return f"{name} ({code})" if code else name


def origin(error: BaseException) -> tuple[str, ...]:
    """The types and places of the error and its causes: equal for the same defect."""
    return tuple(f"{named(one)}{_last_places(one)}" for one in _with_causes(error))


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and then its causes; of a group also its members."""
    ahead, seen = [error], set[int]()
    while ahead and len(seen) < ERRORS_MAX:
        one = ahead.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, BaseExceptionGroup):
            ahead += one.exceptions
        cause = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
        if cause is not None:
            ahead.append(cause)


def _places(error: BaseException) -> Iterator[str]:
    if error.__traceback__ is not None:
        yield "Traceback (most recent call last):\n"
        yield from traceback.format_tb(error.__traceback__, -FRAMES_MAX)


def _last_places(error: BaseException) -> str:
    """The place where it was raised, and the last place in this service before that.

    Not the whole traceback, which becomes longer each time that an error is raised again.
    """
    trace, last, ours = error.__traceback__, "", ""
    while trace is not None:
        last = f" {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        if str(trace.tb_frame.f_globals.get("__name__", "")).startswith(OUR_OWN):
            ours = last
        trace = trace.tb_next
    return f"{ours}{last}"
