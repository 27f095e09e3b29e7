"""Prints the findings of `credits reconcile`, and writes its report file."""

import json
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from credit_service.cli.shared.errors import CommandFailed, WrongUse
from credit_service.cli.shared.output import Format, put

if TYPE_CHECKING:
    from collections.abc import Iterator

    from credit_service.application.reconcile.findings import Finding, Findings
    from credit_service.application.reconcile.reconcile import Compared

SHOWN_OF_A_KIND_MAX = 20


class FindingsReport:
    """Prints the first findings of each kind as they are found, and writes all of them to the report file."""

    def __init__(self, output: Format, report: Path | None) -> None:
        self._output = output
        self._path = report
        self._file: TextIO | None = None
        self._shown: Counter[str] = Counter()

    def __enter__(self) -> "FindingsReport":
        if self._path is not None:
            try:
                self._file = self._beside.open("w", encoding="utf-8")
            except OSError as error:
                raise WrongUse(f"--report {self._path}: {error.strerror}") from None
            with self._writing():
                self._file.write('{"findings": [')
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            # The error that ended the command is reported; that of a full disk would hide it.
            with suppress(OSError):
                self._file.close()
            self._beside.unlink(missing_ok=True)

    @contextmanager
    def _writing(self) -> "Iterator[None]":
        try:
            yield
        except OSError as error:
            raise CommandFailed(f"--report {self._path}: {error.strerror}") from None

    @property
    def _beside(self) -> Path:
        """The file that becomes the report when it is complete."""
        path = self._path or Path()
        return path.with_name(f".{path.name}.part")

    def finding(self, finding: "Finding") -> None:
        """Adds one finding."""
        line = json.dumps(_as_json(finding))
        if self._file is not None:
            with self._writing():
                self._file.write(("\n" if not self._shown.total() else ",\n") + line)
        self._shown[finding.kind] += 1
        if self._output is Format.JSON:
            put(line)
        elif self._shown[finding.kind] <= SHOWN_OF_A_KIND_MAX:
            put(f"{finding.kind}: {finding.subject}: {finding.message}")
        elif self._shown[finding.kind] == SHOWN_OF_A_KIND_MAX + 1:
            put(f"{finding.kind}: … and more, see the counts below")

    def sum_up(self, compared: "Compared", findings: "Findings") -> None:
        """Prints the summary, and completes the report file."""
        summary = {
            "compared": {
                "messages": compared.messages,
                "published": compared.published,
                "accounts": compared.accounts,
                "decisions": compared.decisions,
                "changes": compared.changes,
            },
            "differences": dict(sorted(findings.counts.items())),
            "could_not_tell": findings.unknown,
        }
        if self._file is not None and self._path is not None:
            with self._writing():
                self._file.write(f'\n], "summary": {json.dumps(summary)}}}\n')
                self._file.close()
                self._beside.replace(self._path)
            self._file = None
        if self._output is Format.JSON:
            put(json.dumps({"summary": summary}))
            return
        put(
            f"Compared {compared.messages:,} messages, {compared.decisions:,} decisions and {compared.changes:,} "
            f"balance changes of {compared.accounts:,} accounts, and {compared.published:,} published events."
        )
        for kind, count in sorted(findings.counts.items()):
            put(f"{count:>8,}  {kind}")
        for reason in findings.unknown:
            put(f"Could not tell: {reason}")
        if not findings.counts and not findings.unknown:
            put("All agrees.")


def _as_json(finding: "Finding") -> dict[str, str | None]:
    return {
        "kind": finding.kind,
        "account_id": finding.account_id,
        "subject": finding.subject,
        "told": finding.message,
        "mend": finding.action,
    }
