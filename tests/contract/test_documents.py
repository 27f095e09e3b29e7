"""The pages agree with the code: tables are its values, links lead somewhere, and every page is on the map."""

from __future__ import annotations

import re
from typing import Any, cast, get_args

import pytest
from pydantic.fields import FieldInfo

from credit_contracts import DEAD_LETTER_TOPIC, INCOMING, OUTGOING_TOPICS
from credit_contracts.topics import PARTITIONS
from credit_local_stack.servers import CHOICE
from credit_service.application.processing.reasons import REFUSALS
from credit_service.application.reconcile.findings import FindingKind
from credit_service.asyncapi.document import Deployed
from credit_service.domain.rules import LateRefund
from credit_service.http.accounts import account_routes
from credit_service.http.asyncapi import asyncapi_routes
from credit_service.http.health import health_routes
from credit_service.http.openapi import openapi_route
from credit_service.metrics.labels import DEGRADED
from credit_service.settings import PREFIX, SECRETS_DIR_VARIABLE, Settings
from support.documents import (
    ROOT,
    code,
    leads_somewhere,
    links,
    pages,
    prose,
    relative_links,
    table,
    target,
    text,
)
from support.patience import VARIABLE

README = "README.md"
README_BYTES_MAX = 8_500
RULES = "service/docs/RULES.md"
ARCHITECTURE = "service/ARCHITECTURE.md"
PACKAGE_READMES = ["contracts/README.md", "deploy/local_stack/README.md", "service/README.md"]
PAGES = pages()
SERVICE = ROOT / "service/src/credit_service"
DOMAIN = SERVICE / "domain"
WITHOUT_RULES = {
    "__init__.py",
    "batch.py",
    "command.py",
    "decided.py",
    "decision.py",
    "event.py",
    "rules.py",
    "unstored.py",
}
"""Values alone."""


# --- the tables


def test_the_settings_are_the_code() -> None:
    listed = {code(row[0]): row[1] for row in table("deploy/SETTINGS.md", "setting | default")}

    assert listed.pop(SECRETS_DIR_VARIABLE)
    assert listed == {f"{PREFIX}{name.upper()}": _default(field) for name, field in Settings.model_fields.items()}


def _default(field: FieldInfo) -> str:
    if field.default_factory_takes_validated_data:
        return "`CREDITS_DATABASE_URL`"
    default = field.get_default(call_default_factory=True)
    if isinstance(default, LateRefund):
        return f"`{default.kind}`"
    if default in ("", None, ()):
        return "none"
    return "needed" if repr(default) == "PydanticUndefined" else f"`{default}`"


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith(("README", "service/", "deploy/SETTINGS"))])
def test_every_variable_that_is_named_is_a_setting(page: str) -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | {SECRETS_DIR_VARIABLE, CHOICE, VARIABLE}

    assert set(re.findall(rf"{PREFIX}[A-Z_]+", text(page))) <= known


def test_the_topics_are_the_code() -> None:
    incoming = {code(row[0]): row[1] for row in table(README, "incoming topic")}

    assert incoming == {name: ", ".join(model.producers) for name, model in INCOMING.items()}
    assert [code(row[0]) for row in table(README, "outgoing topic")] == [*OUTGOING_TOPICS, DEAD_LETTER_TOPIC]
    assert f"partitions ({PARTITIONS})" in text(README)
    assert f"partitions ({PARTITIONS})" in text("deploy/SETTINGS.md")


def test_the_reasons_of_dead_letters_are_the_code() -> None:
    listed = {code(row[0]): row[1].partition(";")[0] for row in table("service/docs/OPERATIONS.md", "reason | when")}

    assert set(listed) == {*REFUSALS, "refused-by-database", "undecidable"}
    assert {reason: listed[reason] for reason in REFUSALS} == REFUSALS


def test_the_kinds_of_findings_are_the_code() -> None:
    cells = [row[0] for row in table("service/docs/OPERATIONS.md", "kind | finding")]
    listed = [kind for cell in cells for kind in re.findall(r"`([\w-]+)`", cell)]

    assert sorted(listed) == sorted(_values(FindingKind))


def _values(literal: Any) -> list[str]:
    return [literal] if isinstance(literal, str) else [value for part in get_args(literal) for value in _values(part)]


def test_every_file_of_rules_is_in_the_table_of_rules() -> None:
    files = {target(RULES, link).resolve() for row in table(RULES, "rule | function") for link in links(row[1])}

    assert {path for path in files if path.parent == DOMAIN} == {
        path for path in DOMAIN.glob("*.py") if path.name not in WITHOUT_RULES
    }


def test_every_rule_lives_in_one_place_that_is_there() -> None:
    for rule, place, _ in table(RULES, "rule | function"):
        (link,) = links(place)
        assert re.search(rf"^ *def {code(place)}\(", target(RULES, link).read_text(), re.MULTILINE), rule


def test_every_test_of_the_domain_holds_a_rule_and_every_rule_is_held() -> None:
    held_by = [{target(RULES, link).resolve() for link in links(row[2])} for row in table(RULES, "rule | function")]

    assert all(held_by)
    assert set((ROOT / "tests/unit/domain").glob("test_*.py")) <= set().union(*held_by)


def test_the_paths_are_the_code() -> None:
    nothing = cast("Any", None)
    api = [*account_routes(nothing, nothing), openapi_route(), *asyncapi_routes(Deployed())]
    routes = [*api, *health_routes(nothing, nothing, nothing)]
    listed = [code(row[0]).partition("?")[0] for row in table("service/docs/READ_API.md", "GET | response")]

    assert listed == [route.path for route in routes]


def test_the_folders_are_the_packages() -> None:
    packages = {path.parent.relative_to(SERVICE).as_posix() for path in SERVICE.rglob("__init__.py")} - {"."}
    listed = [
        name for row in table("service/docs/FOLDERS.md", "package | job") for name in re.findall("`([^`]+)`", row[0])
    ]

    assert sorted(listed) == sorted(packages)


def test_the_tables_of_the_data_are_those_of_the_privileges() -> None:
    """The privileges are held to the catalog."""
    granted = {code(row[0]) for row in table("deploy/POSTGRES_ACCESS.md", "table | `credits_service`")}
    described = [code(row[0]) for row in table(ARCHITECTURE, "table | one row is")]

    assert sorted(described) == sorted(name for name in granted if not name.endswith("_by_account"))


def test_what_keeps_a_promise_in_the_database_is_in_the_migrations() -> None:
    schema = "".join(path.read_text("utf-8") for path in SERVICE.glob("postgres/migrations/*.sql"))
    named = {name for row in table(ARCHITECTURE, "promise | in the code") for name in re.findall(r"`(\w+)`", row[2])}

    assert named
    assert sorted(name for name in named if not re.search(rf"\b{name}\b", schema)) == []


def test_what_keeps_a_promise_in_the_code_is_in_the_code() -> None:
    source = "".join(path.read_text("utf-8") for path in SERVICE.rglob("*.py"))
    named = {name for row in table(ARCHITECTURE, "promise | in the code") for name in re.findall(r"`([\w.]+)`", row[1])}

    assert named
    assert sorted(name for name in named if not re.search(rf"def {name.rpartition('.')[2]}\(", source)) == []


def test_the_parts_that_wait_for_a_person_are_the_code() -> None:
    listed = [code(row[0]) for row in table("service/docs/HEALTH.md", "part of `degraded`")]

    assert sorted(listed) == sorted([*DEGRADED, "twins"])  # without a metric of their own


# --- the pages


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    assert [link for link in relative_links(page) if not leads_somewhere(page, link)] == []


@pytest.mark.parametrize("page", PACKAGE_READMES)
def test_the_readme_of_a_package_has_no_link_that_breaks_outside_of_the_repository(page: str) -> None:
    assert [link for link in relative_links(page) if not link.startswith("#")] == []


def test_the_map_of_the_readme_has_a_line_for_every_page_of_the_service_and_of_deploy() -> None:
    on_map = [target(README, link).resolve() for row in table(README, "page | subject") for link in links(row[0])]
    due = [*(ROOT / "service/docs").glob("*.md"), *(ROOT / "deploy").glob("*.md"), ROOT / "service/ARCHITECTURE.md"]

    assert sorted(path.name for path in due if path not in on_map) == []
    assert len(on_map) == len(table(README, "page | subject"))


def test_every_page_is_reached_from_the_readme() -> None:
    reached, left = {README}, [README]
    while left:
        page = left.pop()
        found = {target(page, link).resolve() for link in relative_links(page)}
        new = {path.relative_to(ROOT).as_posix() for path in found if path.suffix == ".md"} - reached
        reached |= new
        left += new
    of_others = {page for page in PAGES if page.startswith("tests/contract/asyncapi_spec/")}

    assert set(PAGES) - reached - of_others == {"service/README.md"}  # shown with the package


def test_the_readme_is_short() -> None:
    assert len(text(README).encode()) <= README_BYTES_MAX


@pytest.mark.parametrize("page", PAGES)
def test_lines_are_not_too_long(page: str) -> None:
    assert [line for line in prose(page).splitlines() if len(line) > 121 and not line.startswith("|")] == []
