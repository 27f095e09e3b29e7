"""An account is changed by its own methods alone, so that no rule has to remember which rows the store must write."""

from __future__ import annotations

import ast
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from credit_service import domain
from credit_service.domain.account import Account
from credit_service.domain.grant import Grant
from credit_service.domain.unstored import Unstored

if TYPE_CHECKING:
    from collections.abc import Iterator

DOMAIN = Path(domain.__file__).parent
STATE = {field.name for owner in (Account, Grant, Unstored) for field in fields(owner)}
RESULTS = {"out", "decision", "settled", "recomputed", "history"}
"""Names of results, which have some field names in common with an account."""
MUTATORS = set("add append clear discard extend insert pop popitem remove setdefault sort update".split())


def changes_of_state(source: str) -> Iterator[str]:
    """The changes of accounts and grants in the source: assignments, deletions and mutating calls."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Assign(targets=targets) | ast.Delete(targets=targets):
                pass
            case ast.AugAssign(target=target) | ast.AnnAssign(target=target):
                targets = [target]
            case ast.Call(func=ast.Attribute(value=value, attr=attr)) if attr in MUTATORS:
                targets = [value]
            case _:
                continue
        yield from (ast.unparse(target) for target in targets if is_state(target))


def is_state(target: ast.expr) -> bool:
    if isinstance(target, ast.Tuple | ast.List):
        return any(is_state(element) for element in target.elts)
    while isinstance(target, ast.Subscript | ast.Starred):
        target = target.value
    if not isinstance(target, ast.Attribute) or target.attr not in STATE:
        return False
    owner = target.value
    name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
    return name not in RESULTS


@pytest.mark.parametrize(
    "statement",
    [
        "account.balance -= 1",
        "grant.remaining = 0",
        "account.next_timer_at = None",
        "account.unstored.changed_prospects.add('ann')",
        "account.grants[1] = grant",
        "del account.grants[1]",
        "account.unstored.new_plans += [plan]",
        "account.plan, account.period = plan, period",
    ],
)
def test_a_change_of_state_is_found(statement: str) -> None:
    assert list(changes_of_state(statement))


def test_no_rule_changes_an_account_but_by_its_methods() -> None:
    modules = [path for path in DOMAIN.rglob("*.py") if path.name != "account.py"]
    found = {path.name: list(changes_of_state(path.read_text("utf-8"))) for path in modules}

    assert len(modules) > 30
    assert {name: changes for name, changes in found.items() if changes} == {}
