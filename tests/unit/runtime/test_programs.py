"""Programs that print a secret: the result of each way in which one can end."""

import shlex
import sys
import time

import pytest

from credit_service.runtime import programs
from credit_service.runtime.programs import ProgramFailed, output_of, require_program

PYTHON = shlex.quote(sys.executable)
SECRET = "hunter2-of-the-program"  # noqa: S105 - what must not be told


def python(code: str) -> str:
    return f"{PYTHON} -c {shlex.quote(code)}"


def test_what_it_prints_is_the_secret_without_white_space() -> None:
    assert output_of(python(f"print('  {SECRET}')")) == SECRET


def test_it_sees_the_environment_and_what_it_is_given_but_no_setting_of_the_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "of-the-cloud")
    monkeypatch.setenv("CREDITS_DATABASE_URL", SECRET)
    code = "import os; print(*(os.environ.get(n, '-') for n in ('AWS_PROFILE', 'CREDITS_DATABASE_URL', 'PGUSER')))"
    assert output_of(python(code), {"PGUSER": "ann"}) == "of-the-cloud - ann"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (f"import sys; print('{SECRET}'); sys.exit(3)", "ends with exit code 3"),
        (f"import sys; sys.exit('{SECRET}')", "ends with exit code 1"),
        ("pass", "prints nothing"),
        ("print(' ')", "prints nothing"),
        (f"print('{SECRET}' * 10_000)", "prints more than 65536 bytes"),
        ("while True: print('0' * 1000)", "prints more than 65536 bytes"),
        ("import os; os.write(1, b'\\xff')", "prints what is not UTF-8"),
    ],
)
def test_an_end_without_a_secret_is_told_without_what_was_printed(
    code: str, told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ProgramFailed, match=told) as raised:
        output_of(python(code))
    assert SECRET not in str(raised.value)
    assert SECRET not in "".join(capfd.readouterr())


def test_one_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "PROGRAM_SECONDS_MAX", 0.2)
    with pytest.raises(ProgramFailed, match=r"has not ended within 0\.2 s"):
        output_of(python("import time; time.sleep(600)"))


def test_what_it_left_behind_in_a_group_of_its_own_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "PROGRAM_SECONDS_MAX", 0.5)
    left = "import os, time; time.sleep(20)"
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {left!r}], start_new_session=True)"
    began = time.monotonic()
    with pytest.raises(ProgramFailed, match=r"has not ended within 0\.5 s"):
        output_of(python(f"{code}; print('{SECRET}')"))
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(("command", "told"), [("true a\0b", "a"), ("true", "a\0b")])
def test_one_that_no_system_could_run_is_told(command: str, told: str) -> None:
    with pytest.raises(ProgramFailed, match="contains a NUL"):
        output_of(command, {"PGUSER": told})


def test_one_that_has_gone_since_is_told() -> None:
    with pytest.raises(ProgramFailed, match="cannot be run: No such file or directory"):
        output_of("no-such-program-here --for 1")


def test_a_command_is_held_to_be_one_when_settings_are_read() -> None:
    assert require_program(f"{PYTHON} -c 'print(1)'")
    for command in ("", "  ", "no-such-program-here", f"{PYTHON} -c 'print(1)"):
        with pytest.raises(ValueError, match=r"program that is here|No closing quotation"):
            require_program(command)
