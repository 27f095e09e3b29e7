"""Tracebacks that say where and what kind, and no more: an exception's words may be a payload, a row, or a password."""

import errno
import traceback
from collections.abc import Iterator

FRAMES_MAX = 40
ERRORS_MAX = 10
OUR_OWN = "credit_service"


def describe(error: BaseException) -> str:
    """The error with its causes, the first cause first, each with its places in the code."""
    chain = list(_with_causes(error))
    return "\n".join(f"{''.join(_places(one))}{named(one)}" for one in reversed(chain))


def named(error: BaseException) -> str:
    """What kind of error it is: its type, and the code that the system or the database gave it."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    code = getattr(error, "sqlstate", None) or errno.errorcode.get(getattr(error, "errno", None) or 0)
    return f"{name} ({code})" if code else name


def origin(error: BaseException) -> tuple[str, ...]:
    """What kind it and its causes are and where each came up: the same for the same defect."""
    return tuple(f"{named(one)}{_last_places(one)}" for one in _with_causes(error))


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    """The error, then what it came of; of a group also its members."""
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
    """Where it was raised, and where this service called what raised it.

    Not the whole way: that of an error which is raised again and again becomes longer each time.
    """
    trace, last, ours = error.__traceback__, "", ""
    while trace is not None:
        last = f" {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        if str(trace.tb_frame.f_globals.get("__name__", "")).startswith(OUR_OWN):
            ours = last
        trace = trace.tb_next
    return f"{ours}{last}"
