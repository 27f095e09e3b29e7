"""The files below deploy/, and the tools that check them where these are built."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from support.patience import patience

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "credit-service"
ALERTS = CHART / "files" / "alerts.yaml"
DASHBOARD = CHART / "files" / "dashboard.json"
TOOLS = ROOT / ".tools" / "go"
REQUIRED = "CREDITS_DEPLOY_TOOLS"
TOOL_SECONDS_MAX = 120


def run_tool(name: str, *arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """A tool that `make deploy-check` builds, with a home of its own; a skip in any other run."""
    if not os.environ.get(REQUIRED):
        pytest.skip("needs tools that are built with go: `make deploy-check` does, and runs it")
    binary = TOOLS / name
    assert binary.is_file(), f"{name} was not built"
    return subprocess.run(
        [binary, *arguments],
        cwd=folder,
        env={"PATH": os.defpath, "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=patience(TOOL_SECONDS_MAX),
        check=False,
    )


@cache
def alerts() -> list[dict[str, Any]]:
    """The alert rules."""
    return [rule for group in yaml.safe_load(ALERTS.read_text("utf-8"))["groups"] for rule in group["rules"]]


def selected(query: str) -> list[tuple[str, dict[str, str]]]:
    """The metrics that a query asks for, each with its matchers."""
    found: list[tuple[str, dict[str, str]]] = []

    def visit(node: Any) -> None:
        if isinstance(node, promql_parser.MatrixSelector):
            node = node.vector_selector
        if isinstance(node, promql_parser.VectorSelector):
            one = (str(node.name), {matcher.name: matcher.value for matcher in node.matchers.matchers})
            if one not in found:
                found.append(one)

    promql_parser.walk(promql_parser.parse(query), visit)
    return found


def grouped_by(query: str) -> set[str]:
    """The labels that a query keeps or matches on."""
    found: set[str] = set()

    def visit(node: Any) -> None:
        modifier = getattr(node, "modifier", None)
        matching = getattr(modifier, "matching", None) or modifier
        found.update(getattr(matching, "labels", None) or ())

    promql_parser.walk(promql_parser.parse(query), visit)
    return found
