"""`credit_contracts.dead_letters.REASONS` has every reason; code and documents take their words from it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from credit_contracts.dead_letters import REASONS, DeadLetterReason, ReasonKind, UnreadableReason, reasons_of
from credit_service.application.processing import reasons
from credit_service.domain.decision import Refusal
from credit_service.metrics import labels

ROOT = Path(__file__).parents[2]
PAGES = [page.read_text() for page in (ROOT / "README.md", *ROOT.glob("contracts/*.md"), *ROOT.glob("service/**/*.md"))]
ROW = re.compile(r"^\| `([\w-]+)` \| ([^|]+) \|", re.MULTILINE)


def test_every_reason_has_its_text_and_its_kind() -> None:
    literals = [name for literal in get_args(DeadLetterReason) for name in get_args(literal)]
    assert literals == list(REASONS)
    assert {text.kind for text in REASONS.values()} == {*get_args(ReasonKind)}
    assert all(text.meaning and text.who_acts for text in REASONS.values())


def test_the_reasons_of_the_code_are_those() -> None:
    assert tuple(reasons_of("message")) == get_args(UnreadableReason)
    assert {*get_args(Refusal)} == {*reasons_of("event", "account", "first-plan"), "undecidable"}
    assert {*reasons.REFUSALS} | {*reasons.REASONS_OF_FAULTS} == REASONS.keys() - {*reasons_of("message")}
    assert tuple(REASONS) == labels.REASONS


@pytest.mark.parametrize("reason", REASONS)
def test_a_page_has_the_reason_with_its_meaning(reason: DeadLetterReason) -> None:
    rows = [meaning for text in PAGES for name, meaning in ROW.findall(text) if name == reason]
    assert [meaning for meaning in rows if meaning.startswith(REASONS[reason].meaning)], rows
