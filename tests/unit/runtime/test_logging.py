"""Logs of a process of its own, since the configuration is global."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from datetime import datetime, timedelta
from textwrap import indent

import asyncpg
import pytest
from structlog.testing import capture_logs

from credit_service.runtime.logging import log_loop_error
from support.patience import patience


def logged(log_format: str, level: str, code: str) -> str:
    program = f"""
import logging, structlog
from credit_service.runtime.logging import configure_logging
log = structlog.get_logger("credit_service.kafka.consume.intake")  # made before, as modules do
configure_logging({log_format!r}, {level!r})
{code}
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=patience(60)
    )
    assert done.stdout == ""
    return done.stderr


def test_off_a_terminal_a_line_is_json_with_a_time_in_utc() -> None:
    line = json.loads(logged("auto", "info", "log.info('batch', events=3)"))
    assert (line["event"], line["events"], line["level"]) == ("batch", 3, "info")
    assert line["logger"] == "credit_service.kafka.consume.intake"
    assert datetime.fromisoformat(line["timestamp"]).utcoffset() == timedelta(0)


def test_lines_for_people_can_be_asked_for() -> None:
    line = logged("console", "info", "log.info('batch', events=3)")
    assert "batch" in line
    assert "events=3" in line
    assert not line.startswith("{")


def test_the_level_is_the_services_own() -> None:
    assert logged("json", "warning", "log.info('batch')") == ""
    assert "batch" in logged("json", "debug", "log.debug('batch')")


def test_libraries_are_heard_from_warning_on_and_in_the_same_form() -> None:
    code = """
for name in ("aiokafka.consumer", "faststream", "uvicorn.error", "somebody.else"):
    logging.getLogger(name).info("chatter of %s", name)
    logging.getLogger(name).warning("trouble of %s", name)
"""
    lines = [json.loads(line) for line in logged("json", "debug", code).splitlines()]
    assert [line["event"] for line in lines] == [
        "trouble of aiokafka.consumer",
        "trouble of faststream",
        "trouble of uvicorn.error",
        "trouble of somebody.else",
    ]
    assert {line["level"] for line in lines} == {"warning"}


def test_what_a_library_says_again_and_again_is_a_line_and_then_a_number() -> None:
    code = """
from credit_service.runtime import log_repeats
def said():
    logging.getLogger("aiokafka").warning("no node %s", 1)
    log.warning("not ready")
said(), said(), said()
log_repeats.SECONDS_BETWEEN = 0
said()
"""
    lines = [json.loads(line) for line in logged("json", "info", code).splitlines()]
    assert [line["event"] for line in lines if line["event"] == "not ready"] == ["not ready"] * 4
    assert [line.get("repeated") for line in lines if line["event"] == "no node 1"] == [None, 2]


CANARY = "canary@example.com"
# What goes wrong in a process in every way that Python, asyncio and the libraries have words for.
FAULTS = {
    "logged": """
def decide(payload):
    raise ValueError("no such prospect: " + payload)
try:
    decide(CANARY)
except ValueError:
    log.exception("batch failed")
""",
    "caused": """
try:
    try:
        {}[CANARY]
    except KeyError as error:
        raise ValueError(CANARY) from error
except ValueError:
    log.exception("batch failed")
""",
    "a group": """
try:
    raise ExceptionGroup(CANARY, [ValueError(CANARY), KeyError(CANARY)])
except ExceptionGroup:
    log.exception("batch failed")
""",
    "of a library": """
try:
    raise ValueError(CANARY)
except ValueError as error:
    logging.getLogger("aiokafka.consumer").exception("fetch of %s failed: %s", "a topic", error)
    logging.getLogger("uvicorn.error").error("Exception in ASGI application", exc_info=error)
""",
    "as a library's message": """
try:
    raise ValueError(CANARY)
except ValueError as error:
    logging.getLogger("faststream").error(error, exc_info=error)
""",
    "by name in a library's message": """
try:
    raise ValueError(CANARY)
except ValueError as error:
    logging.getLogger("faststream").error("failed: %(error)s", {"error": error}, exc_info=error)
""",
    "uncaught": """
raise ValueError(CANARY)
""",
    "in a thread": """
import threading
def work():
    raise ValueError(CANARY)
thread = threading.Thread(target=work)
thread.start()
thread.join()
""",
    "that cannot be raised": """
class Closing:
    def __del__(self):
        raise ValueError(CANARY)
Closing()
""",
    "in a task that nobody awaits": """
async def work():
    raise ValueError(CANARY)
async def main():
    asyncio.get_running_loop().set_exception_handler(log_loop_error)
    task = asyncio.create_task(work())
    await asyncio.wait({task})
RUN(main())
""",
    "in a callback": """
def heard(payload):
    raise ValueError(payload)
async def main():
    asyncio.get_running_loop().set_exception_handler(log_loop_error)
    asyncio.get_running_loop().call_soon(heard, CANARY)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
RUN(main())
""",
}


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_what_an_exception_says_is_not_logged_only_its_type_and_where(log_format: str) -> None:
    faults = "".join(f"\ndef fault_{n}():\n{indent(code, '    ')}" for n, code in enumerate(FAULTS.values()))
    code = f"""
import asyncio
from credit_service.runtime.logging import log_loop_error
from credit_service.runtime.loop import run_in_loop
CANARY, RUN = "canary@" + "example.com", run_in_loop
{faults}
import sys
for n in range({len(FAULTS)}):
    print("fault", n, file=sys.stderr, flush=True)
    try:
        globals()[f"fault_{{n}}"]()
    except Exception:
        sys.excepthook(*sys.exc_info())
"""
    text = logged(log_format, "debug", code)
    assert CANARY not in text
    for name, told in zip(FAULTS, text.split("fault ")[1:], strict=True):
        assert "ValueError" in told, name
        assert ", line " in told, name


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_line_whose_call_is_wrong_is_written_without_what_it_was_called_with(log_format: str) -> None:
    code = f"""
class Unspeakable:
    def __str__(self):
        raise ValueError("{CANARY}")
library = logging.getLogger("aiokafka")
library.warning("fetched %d of %s", "{CANARY}")
library.warning("%s left", Unspeakable())
library.warning(Unspeakable())
library.warning("and goes on")
"""
    lines = logged(log_format, "info", code).splitlines()
    assert CANARY not in "".join(lines)
    told = ["fetched %d of %s (not written whole: TypeError)", "%s left (not written whole: ValueError)"]
    told += ["a line (not written whole: ValueError)", "and goes on"]
    assert len(lines) == len(told)
    assert all(words in line and "aiokafka" in line for words, line in zip(told, lines, strict=True)), lines


def test_what_the_system_or_the_database_calls_it_is_told() -> None:
    code = """
import asyncpg
for error in (OSError(28, "No space left on device", "/data"), asyncpg.UniqueViolationError("Key (id)=(x) exists")):
    try:
        raise error
    except Exception:
        log.exception("batch failed")
"""
    text = logged("json", "info", code)
    assert "OSError (ENOSPC)" in text
    assert "asyncpg.exceptions.UniqueViolationError (23505)" in text


@pytest.mark.parametrize(
    ("kind", "message", "level"),
    [
        (asyncpg.ConnectionDoesNotExistError, "Future exception was never retrieved", "debug"),
        (asyncpg.ConnectionDoesNotExistError, "Task exception was never retrieved", "debug"),
        (asyncpg.ConnectionDoesNotExistError, "Exception in callback f()", "error"),
        (asyncpg.DiskFullError, "Future exception was never retrieved", "error"),
        (ValueError, "Future exception was never retrieved", "error"),
    ],
)
async def test_that_a_connection_is_lost_is_no_error_of_the_loop(
    kind: type[Exception], message: str, level: str
) -> None:
    with capture_logs() as lines:
        log_loop_error(asyncio.get_running_loop(), {"message": message, "exception": kind()})
    assert [line["log_level"] for line in lines] == [level]
