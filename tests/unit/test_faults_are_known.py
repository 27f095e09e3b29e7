"""What tests set in a service that they start is there: a name that has moved would be set without effect."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = Path(__file__).parents[1]


def programs(file: Path) -> Iterator[tuple[int, ast.Module]]:
    """The texts in a test that are Python and import from the service, with the lines where they stand."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "0" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        else:
            continue
        if "import" in text and "credit_service" in text:
            try:
                yield node.lineno, ast.parse(text)
            except SyntaxError:
                continue


def unknown(program: ast.Module) -> Iterator[str]:
    """What it sets in modules of the service that have no such name."""
    modules = {}
    for node in ast.walk(program):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("credit_service"):
            for alias in node.names:
                try:
                    modules[alias.asname or alias.name] = importlib.import_module(f"{node.module}.{alias.name}")
                except ModuleNotFoundError:
                    yield from () if hasattr(importlib.import_module(str(node.module)), alias.name) else (alias.name,)
    for node in ast.walk(program):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name):
            module = modules.get(node.value.id)
            if module is not None and not hasattr(module, node.attr):
                yield f"{node.value.id}.{node.attr}"


def test_all_that_is_set_in_a_service_is_there() -> None:
    others = [file for file in TESTS.rglob("*.py") if file != Path(__file__)]
    found = [(file, line, program) for file in others for line, program in programs(file)]

    assert len(found) > 10
    assert [f"{f.relative_to(TESTS)}:{line}: {name}" for f, line, program in found for name in unknown(program)] == []


def test_a_name_that_has_moved_is_found() -> None:
    moved = "from credit_service.application.replay import replay; replay.REPLAY_BATCH_MAX, x = 1, 2"

    assert list(unknown(ast.parse(moved))) == ["replay.REPLAY_BATCH_MAX"]
