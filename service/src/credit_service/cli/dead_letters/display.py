"""Dead letters as text for people; content that others sent cannot control the terminal."""

from datetime import datetime
from typing import TYPE_CHECKING

from credit_service.cli.shared.text import age, safe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from credit_service.application.dead_letters.model import Bytes, LetterAnswer, LetterGroup, LetterLine, ShownLetter

LEFT_OUT = "not kept: too large, or too many that day; a retry reads them from Kafka while Kafka has them"


def groups_table(groups: "Sequence[LetterGroup]") -> "Table":
    """A table with a row for each group."""
    from rich.table import Table

    table = Table()
    table.add_column("Letters", justify="right")
    for name in ("Topic", "Reason", "Status", "Oldest", "Newest"):
        table.add_column(name, overflow="fold")
    for group in groups:
        ages = (f"{age(seconds)} ago" for seconds in (group.oldest_seconds, group.newest_seconds))
        table.add_row(f"{group.letters:,}", safe(group.topic), safe(group.reason), group.status, *ages)
    return table


def each_line(line: "LetterLine") -> str:
    """One letter as a line."""
    place = f"{line.place.topic}/{line.place.partition}/{line.place.offset}"
    about = line.account_id or "no account"
    more = [
        line.status if line.status != "waiting" else None,
        line.outcome,
        "erased" if line.erased else None,
        "kept without its bytes" if line.left_out else None,
        f"{line.retries} retries failed" if line.retries else None,
    ]
    parts = [f"#{line.dead_letter_id}", place, about, line.reason, f"{age(line.age_seconds)} old", *filter(None, more)]
    return safe("  ".join(parts))


def answer_line(answer: "LetterAnswer") -> str:
    """What became of a letter, as a line."""
    before = " before" if answer.became.endswith("-before") else ""
    became = answer.became.removesuffix("-before")
    if became == "resolved":
        return f"#{answer.dead_letter_id}: {answer.outcome}{before}"
    if became == "failed":
        return safe(f"#{answer.dead_letter_id}: waits on: {answer.reason or 'moved'}, {answer.detail}")
    if became == "unknown":
        return f"#{answer.dead_letter_id}: is not there"
    return f"#{answer.dead_letter_id}: {became}{before}"


def letter_text(letter: "ShownLetter") -> str:
    """All of one letter."""
    place = letter.place
    rows = [
        ("Dead letter", f"#{letter.dead_letter_id}"),
        ("Place", f"{place.topic}, partition {place.partition}, offset {place.offset}"),
        ("Account", letter.account_id),
        ("Reason", f"{letter.reason}: {letter.detail}"),
        ("Since", _second(letter.created_at)),
        ("Kafka's time", _second(letter.kafka_at)),
        ("Status", letter.status + (f", {letter.outcome}" if letter.outcome else "")),
        ("Ended", _by(letter.ended_at, letter.operator, letter.comment)),
        ("Retries that failed", str(letter.retries) if letter.retries else None),
        ("Last one failed", _by(letter.retried_at, letter.retry_reason, letter.retry_detail)),
        ("Erased", _by(letter.erased_at, letter.erased_by, None)),
        ("Bytes", LEFT_OUT if letter.is_left_out else None),
        ("SHA-256 of it all", letter.content_sha256),
    ]
    lines = [f"{name:<20}{safe(text)}" for name, text in rows if text is not None]
    lines += [f"{'Header':<20}{safe(header.name)} = {_bytes(header.value)}" for header in letter.headers]
    key, value = _bytes(letter.key), _bytes(letter.value)
    if letter.key_bytes is not None:
        key = f"not kept: {letter.key_bytes:,} bytes"
    if letter.value_bytes is not None:
        value = f"not kept: {letter.value_bytes:,} bytes, SHA-256 {letter.value_sha256}"
    lines += [f"{'Key':<20}{key}", f"{'Value':<20}{value}"]
    return "\n".join(lines)


def _bytes(shown: "Bytes | None") -> str:
    if shown is None:
        return "none"
    return f"hex {shown.data}" if shown.encoding == "hex" else safe(shown.data)


def _second(instant: datetime | None) -> str | None:
    return None if instant is None else f"{instant:%Y-%m-%d %H:%M:%S} UTC"


def _by(at: datetime | None, who: str | None, why: str | None) -> str | None:
    parts = [_second(at), who, why]
    return None if at is None else ", ".join(part for part in parts if part)
