"""Alerts, dashboard and runbook: they ask for metrics that are there, and lead to pages that are there."""

from __future__ import annotations

import json
import re
import shlex
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from credit_service.cli.main import app
from credit_service.metrics.labels import REASONS
from support.deployed import ALERTS, DASHBOARD, DEPLOY, alerts, grouped_by, run_tool, selected
from support.exposed import KNOWN, metrics_of_a_service

SOURCES = DEPLOY.parent / "service" / "src" / "credit_service"
RUNBOOK = DEPLOY / "runbook"
CASES = DEPLOY / "prometheus" / "alerts.test.yaml"
PAGES = sorted(page for page in RUNBOOK.glob("*.md") if page.name != "README.md")
OF_PROMETHEUS = {"namespace", "instance"}
"""Labels that the scrape adds."""
PANELS_MAX = 20


@pytest.fixture(scope="module")
def exposed() -> dict[str, set[str]]:
    """The labels of every series that a member shows."""
    metrics = metrics_of_a_service()
    metrics.state = lambda: KNOWN
    found: dict[str, set[str]] = {}
    for family in metrics.registry.collect():
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(DASHBOARD.read_text("utf-8"))
    return loaded


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def queries() -> list[tuple[str, str]]:
    """All queries, with where they stand; Grafana's variables as something that can be read."""
    of_alerts = [(rule["alert"], rule["expr"]) for rule in alerts()]
    of_panels = [(panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]]
    return [
        (name, query.replace("$__rate_interval", "5m").replace("$namespace", ".*"))
        for name, query in of_alerts + of_panels
    ]


@pytest.mark.parametrize(("name", "query"), queries())
def test_a_query_asks_for_series_that_are_there(name: str, query: str, exposed: dict[str, set[str]]) -> None:
    known = set().union(OF_PROMETHEUS, {"le"}, *(exposed.get(metric, set()) for metric, _ in selected(query)))

    for metric, matchers in selected(query):
        assert metric in exposed, f"{name}: no metric is called {metric}"
        assert set(matchers) <= exposed[metric] | OF_PROMETHEUS, f"{name}: {metric} has not these labels"
        for value in matchers.get("reason", "undecidable").split("|"):
            assert value in REASONS
    assert grouped_by(query) <= known, name


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_whom_it_is_for_and_names_its_page(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]
    assert rule["annotations"]["runbook_url"] == f"deploy/runbook/{rule['alert']}.md"
    assert (RUNBOOK / f"{rule['alert']}.md").is_file()


def test_every_page_is_of_an_alert_and_the_index_has_each_with_its_severity() -> None:
    index = (RUNBOOK / "README.md").read_text("utf-8")
    told = dict(re.findall(r"^\| \[(\w+)\]\(\1\.md\) \| (\w+) \|", index, re.MULTILINE))

    assert [page.stem for page in PAGES] == sorted(rule["alert"] for rule in alerts())
    assert told == {rule["alert"]: rule["labels"]["severity"] for rule in alerts()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_answers_what_whoever_is_on_call_asks(page: Path) -> None:
    text = page.read_text("utf-8")
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)

    assert text.startswith(f"# {page.stem}\n")
    assert headings == ["What it means", "Look first", "Do", "Wake somebody", "It is over when"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_the_log_is_said_to_say_it_says(page: Path) -> None:
    source = "".join(path.read_text("utf-8") for path in SOURCES.rglob("*.py"))

    for said in re.findall(r"(?:log says|In the log|Look for|after)\s+`([^`]+)`", page.read_text("utf-8")):
        assert f'"{" ".join(said.split())}' in source, said


def commands() -> list[tuple[str, str]]:
    found = []
    for page in sorted(DEPLOY.rglob("*.md")):
        for block in re.findall(r"^```console\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE):
            for line in block.splitlines():
                if line.startswith("$ ") and "credits " in (command := line[2:].partition("  #")[0]):
                    called = re.search(r"(?:^|-- |service )(credits .*)$", command)
                    if called:
                        found.append((page.name, called[1].strip()))
    return found


@pytest.mark.parametrize(("page", "command"), sorted(set(commands())))
def test_a_command_of_a_page_is_one_that_there_is(page: str, command: str) -> None:
    """With all its options: they are parsed, and nothing is run."""
    words = shlex.split(command)[1:]
    group: Any = typer.main.get_command(app)
    context = None
    while hasattr(group, "commands"):
        context = group.context_class(group, parent=context, info_name=words[0])
        assert words[0] in group.commands, f"{page}: {command}"
        group, words = group.commands[words[0]], words[1:]
    given = group.make_context(command, words, parent=context).params
    # The command itself refuses this, but only once it has read its settings.
    assert not (given.get("everything") and (given.get("topic") or given.get("because"))), f"{page}: {command}"


@pytest.mark.parametrize("page", [*PAGES, RUNBOOK / "README.md"], ids=lambda page: page.stem)
def test_a_page_leads_nobody_where_a_member_cannot_go(page: Path) -> None:
    """Its root cannot be written, its roles neither own the schema nor make topics, and it may not be ready."""
    blocks = re.findall(r"^ *```console\n(.*?)^ *```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    lines = [line.strip() for block in blocks for line in block.splitlines()]

    assert not [line for line in lines if "rollout restart" in line], "waits for a new member to be ready"
    assert not [line for line in lines if "credits migrate" in line], "as a role that may not"
    for line in lines:
        if "credits topics create" in line:
            assert "--replication-factor" in line
            assert "not inside a member" in line
        assert "--report" not in line or "--report /tmp/" in line


def test_no_query_of_the_dashboard_mixes_deployments() -> None:
    for panel, target in ((p, t) for p in panels() for t in p["targets"]):
        for metric, matchers in selected(target["expr"].replace("$__rate_interval", "5m")):
            assert matchers.get("namespace") == "$namespace", f"{panel['title']}: {metric}"


def test_the_dashboard_is_small_and_each_panel_says_what_it_answers() -> None:
    titles = [panel["title"] for panel in panels()]

    assert len(titles) == len(set(titles)) <= PANELS_MAX
    for panel in panels():
        assert "?" in panel["description"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        for alert in re.findall(r"\bCredits\w+", panel["description"]):
            assert alert in {rule["alert"] for rule in alerts()}, panel["title"]
    rows = [panel["title"] for panel in dashboard()["panels"] if panel["type"] == "row"]
    assert rows == ["Is it behind?", "Is it declining?", "Is it stuck?", "Is it losing?", "Is it answering?"]


def test_no_two_panels_lie_on_each_other() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        for cell in product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])):
            assert cell not in taken, f"{panel['title']} lies on {taken.get(cell)}"
            taken[cell] = panel["title"]


def test_a_threshold_of_an_alert_that_a_panel_shows_is_the_alerts() -> None:
    limit = {rule["alert"]: rule["expr"].rpartition("> ")[2].strip() for rule in alerts()}
    red = {
        panel["title"]: str(panel["fieldConfig"]["defaults"]["thresholds"]["steps"][-1]["value"])
        for panel in panels()
        if panel["fieldConfig"]["defaults"]["thresholds"]["steps"][-1]["color"] == "red"
    }

    assert red["Behind"] == red["Age of the oldest waiting message"] == limit["CreditsBehind"]
    assert red["Waits to be published"] == limit["CreditsOutboxWaits"]
    assert red["Time without progress"] == limit["CreditsStuck"]


def test_each_alert_is_tried_both_ways() -> None:
    names = [case["name"] for case in yaml.safe_load(CASES.read_text("utf-8"))["tests"]]

    for rule in alerts():
        assert any(name.startswith(f"{rule['alert']} fires") for name in names), rule["alert"]
        assert any(name.startswith(f"{rule['alert']} stays quiet") for name in names), rule["alert"]


def test_the_rules_are_rules(tmp_path: Path) -> None:
    done = run_tool("promtool", "check", "rules", "--lint=all", "--lint-fatal", ALERTS.resolve(), folder=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_fires_where_it_should_and_only_there(tmp_path: Path) -> None:
    done = run_tool("promtool", "test", "rules", CASES, folder=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
