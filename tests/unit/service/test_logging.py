"""Logs are looked at as a process writes them: the configuration is the process's own."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timedelta


def logged(log_format: str, level: str, code: str) -> str:
    program = f"""
import logging, structlog
from credit_service.logging import configure_logging
log = structlog.get_logger("credit_service.kafka.intake")  # made before, as modules do
configure_logging({log_format!r}, {level!r})
{code}
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == ""
    return done.stderr


def test_off_a_terminal_a_line_is_json_with_a_time_in_utc() -> None:
    line = json.loads(logged("auto", "info", "log.info('batch', events=3)"))
    assert (line["event"], line["events"], line["level"]) == ("batch", 3, "info")
    assert line["logger"] == "credit_service.kafka.intake"
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


def test_a_traceback_shows_no_values_of_variables() -> None:
    code = """
def decide(payload):
    raise ValueError("no")
try:
    decide("hunter" + str(2))
except ValueError:
    log.exception("batch failed")
"""
    for log_format in ("json", "console"):
        text = logged(log_format, "info", code)
        assert "ValueError: no" in text
        assert "hunter2" not in text
