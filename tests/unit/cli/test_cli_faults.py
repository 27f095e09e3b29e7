"""What commands say of a database that cannot be worked with, also when that happens in the midst of their work."""

from __future__ import annotations

from pathlib import Path

import pytest

from credit_service import cli
from credit_service.application.errors import AccessDenied, LedgerUnavailable, NoPassword, ReadOnly
from credit_service.cli.shared.server_errors import describe_ledger_error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (NoPassword("CREDITS_DATABASE_PASSWORD_FILE: the file is empty"), "CREDITS_DATABASE_PASSWORD_FILE: the file "),
        (ReadOnly("the database takes no writes"), "the database takes no writes"),
        (AccessDenied("the password is wrong"), "the database denies access: the password is wrong"),
        (LedgerUnavailable("OSError"), "the database does not answer: OSError"),
    ],
)
def test_each_fault_is_said_as_it_is(error: LedgerUnavailable, told: str) -> None:
    assert describe_ledger_error(error).startswith(told)


def test_no_command_has_words_of_its_own_for_it() -> None:
    folder = Path(cli.__file__).parent
    assert [file.name for file in folder.rglob("*.py") if "the database does not answer" in file.read_text()] == [
        "server_errors.py"
    ]
