"""Prints the refused rows and the sums of `credits open`."""

import json
from typing import TYPE_CHECKING

from credit_service.cli.opening.source import SAFE
from credit_service.cli.shared.output import Format, put, say

if TYPE_CHECKING:
    from credit_service.application.opening.opening import BatchOpened, Opening
    from credit_service.application.opening.rows import RefusedRow

KINDS = ("account", "purchase", "prospect")


class OpeningReport:
    """Prints what became of the rows, and counts them."""

    def __init__(self, output: Format, *, is_trial: bool) -> None:
        self._output = output
        self.is_trial = is_trial
        self.last_line = 0
        self.opening: Opening | None = None
        self._opened = dict.fromkeys(KINDS, 0)
        self._opened_before = dict.fromkeys(KINDS, 0)
        self._refused = dict.fromkeys([*KINDS, "unreadable"], 0)

    @property
    def is_clean(self) -> bool:
        """Whether no row was refused."""
        return not any(self._refused.values())

    @property
    def left_open(self) -> str | None:
        """The account whose remaining rows are still missing."""
        return self.opening.left_open if self.opening else None

    def add(self, batch: "BatchOpened") -> None:
        """Adds a batch."""
        self.last_line = batch.last_line
        for kind in batch.opened:
            self._opened[kind] += batch.opened[kind]
        for kind in batch.opened_before:
            self._opened_before[kind] += batch.opened_before[kind]
        for row in batch.refused:
            self._refused[row.record or "unreadable"] += 1
            put(self._json(row) if self._output is Format.JSON else self._text(row))

    def sum_up(self) -> None:
        """Prints the sums."""
        if self._output is Format.JSON:
            sums = {"opened": self._opened, "opened_before": self._opened_before, "refused": self._refused}
            put(json.dumps({"dry_run": self.is_trial, "last_line": self.last_line} | sums))
            return
        if self.is_trial:
            say("Nothing was written. It would have come to:")
        rows = [("", *(f"{kind}s" for kind in KINDS), "unreadable")]
        rows.append(("opened", *map(str, self._opened.values()), ""))
        rows.append(("opened before", *map(str, self._opened_before.values()), ""))
        rows.append(("refused", *map(str, self._refused.values())))
        for head, *cells in rows:
            say(f"{head:<14}{''.join(f'{cell:>12}' for cell in cells)}".rstrip())
        if not any(self._opened.values()):
            say("Nothing is new." if self.is_clean else "Nothing is new, and some rows were refused.")

    def _text(self, row: "RefusedRow") -> str:
        about = "" if row.account_id is None else f" ({row.account_id})"
        return f"line {row.line}{about}: {row.detail}"

    def _json(self, row: "RefusedRow") -> str:
        about = {"line": row.line, "account_id": row.account_id, "record": row.record}
        return json.dumps(about | {"reason": row.reason, "detail": row.detail})

    def stopped_at(self) -> str:
        """How far the rows are decided, as the end of a line."""
        how_far = f"decided up to line {self.last_line}" if self.last_line else "no row was decided"
        waits = f"; until then all else of {self.left_open} waits" if self.left_open else ""
        return f"{how_far}, and {SAFE}{waits}"
