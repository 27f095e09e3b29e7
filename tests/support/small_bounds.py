"""Tiny bounds of the service, so that a short history reaches them."""

from __future__ import annotations

import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import credit_service
from credit_service import bounds

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALL: dict[str, int] = {
    "HISTORY_MAX": 7,
    "PARKED_MAX": 2,
    "ACCOUNT_NUMBERS_MAX": 3,
    "ACCOUNT_CREDITS_MAX": 3,
    "TIMERS_PER_BATCH_MAX": 1,
    "TIMERS_PER_ACCOUNT_MAX": 1,
    "UNPARKED_PER_ACCOUNT_MAX": 1,
    "UNPARKED_PER_BATCH_MAX": 1,
    "ACCOUNTS_PER_SWEEP_MAX": 1,
    "SET_BACK_ACCOUNTS_MAX": 1,
    "EXPIRED_PER_TRANSACTION_MAX": 1,
    "PROCESSED_AT_ONCE": 1,
    "BATCH_RECORDS_MAX": 2,
    "BATCH_BYTES_MAX": 1,
    "BUFFERED_BYTES_MAX": 2,
    "JUDGED_MESSAGES": 10,
    "BAD_OF_JUDGED_MAX": 9,
    "LANES": 1,
    "POLL_RECORDS_MAX": 1,
    "POLL_BYTES_MAX": 1,
    "BATCH_UNPACKED_BYTES_MAX": 1,
    "FETCH_BYTES_MAX": 1,
    "FETCH_BYTES_MAX_PER_PARTITION": 1,
    "RANGE_FETCH_BYTES_MAX": 1,
    "REPLAY_BATCH_RECORDS_MAX": 1,
    "REPLAY_BATCH_BYTES_MAX": 1,
    "REPLAY_BUFFERED_BYTES_MAX": 1,
    "CLAIM_ROWS_MAX": 2,
    "CLAIM_BYTES_MAX": 1,
    "PUBLISH_BATCH_BYTES_MAX": 1,
    "ORIGINAL_HEADERS_BYTES_MAX": 1,
    "LETTER_BYTES_PER_DAY": 1,
    "RECORD_BYTES_MAX": 1,
    "LEFT_OUT_KEY_BYTES_MAX": 1,
    "LETTER_DETAIL_CHARACTERS_MAX": 1,
    "LETTER_IDS_READ_MAX": 1,
    "LETTERS_PER_BATCH_MAX": 1,
    "LETTER_BATCH_BYTES_MAX": 1,
    "LETTERS_ORDERED_MAX": 1,
    "LETTER_UNPACKED_BYTES_MAX": 1,
    "LETTER_BLOCK_ROWS": 1,
    "LETTER_LINES_BLOCK_ROWS": 1,
    "REQUESTS_PER_PAGE": 1,
    "REQUEST_LINES_BLOCK_ROWS": 1,
    "OPENING_ROWS_PER_BATCH_MAX": 1,
    "EXPORT_BLOCK_ROWS": 1,
    "EXPLAIN_BLOCK_LINES": 1,
    "DECISIONS_OF_A_PROSPECT_MAX": 1,
    "ENTRIES_OF_DECISIONS_MAX": 1,
    "LETTERS_LOOKED_THROUGH_MAX": 1,
    "EXPLAIN_LETTERS_BLOCK_ROWS": 1,
    "LETTERS_OF_A_PLACE_MAX": 1,
    "COUNTED_MAX": 1,
    "OLDEST_LOOKED_AT_MAX": 1,
    "DOCTOR_ROWS_MAX": 1,
    "ACCOUNTS_READ_MAX": 1,
    "DECISIONS_READ_MAX": 1,
    "AUDIT_BLOCK_ROWS": 1,
    "ACCOUNT_DECISIONS_MAX": 1,
    "LOOKED_AT_MAX": 1,
    "LOOK_UP_MAX": 1,
    "FOUND_TRIES_MAX": 1,
    "TO_MEND_MAX": 1,
    "POOL_CONNECTIONS_MAX": 2,
    "READ_CONNECTIONS_MAX": 1,
    "QUERIES_PER_SESSION_MAX": 20,
    "HTTP_CONNECTIONS_MAX": 2,
    "CONCURRENT_READS_MAX": 1,
    "CONCURRENT_LONG_ANSWERS_MAX": 1,
    "PIECE_BYTES_MAX": 1_000,
    "UNSENT_BYTES_MAX": 1,
    "SPANS_WAITING_MAX": 1,
    "SPANS_SENT_MAX": 1,
    "LINKS_MAX": 1,
    "LOG_LINES_KEPT_MAX": 1,
}

CANNOT_BE_SMALL: dict[str, str] = {
    "PROBE_CONNECTIONS_MAX": "it is 1",
    "WATCH_CONNECTIONS_MAX": "it is 1",
    "HTTP_HEAD_BYTES_MAX": "the guard has to be reached: it is larger than what the guard allows",
}

SHOWS: dict[str, str] = {
    "HISTORY_MAX": "an event of a stay that ended long ago is too-late",
    "PARKED_MAX": "one event more that waits is a dead letter: parked-full",
    "ACCOUNT_NUMBERS_MAX": "an event of an account with so many decisions is a dead letter: account-full",
    "ACCOUNT_CREDITS_MAX": "an event of an account with so many credits is a dead letter: account-full",
    "BATCH_UNPACKED_BYTES_MAX": "a batch that is packed is one dead letter",
    "LETTER_UNPACKED_BYTES_MAX": "a batch that is kept as a dead letter cannot be taken apart",
    "JUDGED_MESSAGES": "a topic that brings bad messages is paused later",
    "BAD_OF_JUDGED_MAX": "a topic that brings bad messages is paused earlier",
    "ORIGINAL_HEADERS_BYTES_MAX": "a dead letter with more is published without its headers",
    "RECORD_BYTES_MAX": "a dead letter that is larger is kept and published without its bytes",
    "LETTER_BYTES_PER_DAY": "a dead letter is kept and published without its bytes",
    "LETTER_DETAIL_CHARACTERS_MAX": "the detail of a dead letter is cut",
}
"""Bounds of which the service promises that others see when they are met."""

UNSEEN = {name: value for name, value in SMALL.items() if name not in SHOWS}
"""The small bounds that nobody may see anything of."""

_SOURCES = Path(credit_service.__path__[0])
OF_COLUMNS = {"ACCOUNT_NUMBERS_MAX", "ACCOUNT_CREDITS_MAX"}
"""Bounds of what a row can hold. The model has no rows, so it knows nothing of them."""

_USE = re.compile(r"\bbounds\.([A-Z][A-Z_]+)")


def as_faults(**values: int) -> str:
    """What `deployment.start(faults=...)` takes to have a service run with these bounds."""
    return "; ".join(["from credit_service import bounds", *(f"bounds.{_known(n)} = {v}" for n, v in values.items())])


@contextmanager
def small_bounds(**values: int) -> Iterator[None]:
    """Sets these bounds in this process, and puts them back."""
    usual = {name: getattr(bounds, _known(name)) for name in values}
    vars(bounds).update(values)
    try:
        yield
    finally:
        vars(bounds).update(usual)


def read_by(*paths: str) -> set[str]:
    """The bounds that are read in these files and folders of the service."""
    files = [file for path in paths for file in _files(_SOURCES / path)]
    return {name for file in files for name in _USE.findall(file.read_text("utf-8"))}


def _files(path: Path) -> list[Path]:
    found = [file for file in sorted(path.rglob("*.py")) if file.name != "bounds.py"] if path.is_dir() else [path]
    assert found, f"{path} has no sources"
    return found


def _known(name: str) -> str:
    assert hasattr(bounds, name), f"there is no bound {name}"
    return name
