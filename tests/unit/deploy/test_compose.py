"""The compose file: read as compose reads it, and what it names is there."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from credit_service.settings import PREFIX, Settings
from support.deployed import DASHBOARD, DEPLOY, ROOT, run_tool

COMPOSE = DEPLOY / "compose.yaml"
PARTS = DEPLOY / "compose"
LOCAL = PARTS / "local-secrets"
OURS = ("migrate", "topics", "service")
RAW: dict[str, Any] = yaml.safe_load(COMPOSE.read_text("utf-8"))


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The model that compose works on: defaults filled in, paths resolved."""
    done = run_tool("compose", "-format", "json", COMPOSE, folder=DEPLOY)
    assert done.returncode == 0, done.stderr
    loaded: dict[str, Any] = json.loads(done.stdout)
    return loaded


def test_compose_reads_it_and_finds_what_it_names(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {"postgres", "kafka", "migrate", "topics", "service", "prometheus", "grafana"}
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            assert volume["type"] == "volume" or Path(volume["source"]).is_file(), volume
            assert volume["type"] == "volume" or volume["read_only"], volume
    for secret in compose["secrets"].values():
        assert Path(secret["file"]).parent == LOCAL
        assert Path(secret["file"]).is_file()
    build = compose["services"]["migrate"]["build"]
    assert Path(build["context"]) == ROOT
    assert (ROOT / build["dockerfile"]).is_file()


def test_our_image_is_built_once_and_never_pulled(compose: dict[str, Any]) -> None:
    """Several builds of one tag, which compose runs at the same time, get in each other's way."""
    ours = {name: compose["services"][name] for name in OURS}

    assert {service["image"] for service in ours.values()} == {"credit-service:local"}
    assert [name for name, service in compose["services"].items() if "build" in service] == ["migrate"]
    assert [service.get("pull_policy") for service in ours.values()] == [None, "never", "never"]


def test_what_has_to_be_readable_by_others_is_said_of_all_that_is_mounted(compose: dict[str, Any]) -> None:
    [told] = re.findall(r"`chmod -R o\+rX ([^`]+)`", " ".join((DEPLOY / "README.md").read_text("utf-8").split()))
    folders = [ROOT / folder for folder in told.split()]
    mounted = [v["source"] for s in compose["services"].values() for v in s.get("volumes", []) if v["type"] == "bind"]

    for path in [*mounted, *(secret["file"] for secret in compose["secrets"].values())]:
        assert any(folder in Path(path).parents for folder in folders), path


def test_every_port_is_on_loopback() -> None:
    ports = [port for service in RAW["services"].values() for port in service.get("ports", [])]

    assert len(ports) == len(set(ports)) == 6
    assert all(re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port) for port in ports)


def test_each_waits_for_what_it_needs() -> None:
    waits = {
        name: {k: v["condition"] for k, v in s.get("depends_on", {}).items()} for name, s in RAW["services"].items()
    }

    assert waits["migrate"] == {"postgres": "service_healthy"}
    assert waits["topics"] == {"kafka": "service_healthy"}
    assert waits["service"] == dict.fromkeys(("migrate", "topics"), "service_completed_successfully")
    assert waits["grafana"] == {"prometheus": "service_healthy"}
    for wanted in waits.values():
        for name, condition in wanted.items():
            assert condition != "service_healthy" or "healthcheck" in RAW["services"][name]


def test_images_have_the_versions_that_are_tested() -> None:
    images = {name: service["image"] for name, service in RAW["services"].items() if name not in OURS}
    jars = (DEPLOY / "local_stack" / "src" / "credit_local_stack" / "jgo.lock.toml").read_text("utf-8")
    kafka = set(re.findall(r'artifactId = "kafka-clients"\nversion = "([^"]+)"', jars))
    promtool = re.findall(
        r"prometheus/prometheus v0\.(\d)(\d\d)\.(\d+)", (DEPLOY / "tools" / "promtool" / "go.mod").read_text()
    )
    [(major, minor, patch)] = promtool

    assert all(re.search(r":v?\d+", image) for image in images.values())
    assert images["kafka"] == f"apache/kafka:{kafka.pop()}"
    assert images["prometheus"] == f"prom/prometheus:v{major}.{int(minor)}.{patch}"


def test_our_own_run_as_in_a_cluster_with_the_secrets_that_each_needs(compose: dict[str, Any]) -> None:
    secrets = {
        name: sorted(
            secret.get("target", secret["source"]).rpartition("/")[2] for secret in compose["services"][name]["secrets"]
        )
        for name in OURS
    }
    for name in OURS:
        service = compose["services"][name]
        assert (service["read_only"], service["init"], service["cap_drop"]) == (True, True, ["ALL"])
        assert service["tmpfs"] == ["/tmp:size=256m"]  # noqa: S108 - of a container
        assert set(service["environment"]) <= {f"{PREFIX}{field.upper()}" for field in Settings.model_fields}

    assert secrets["migrate"] == secrets["topics"] == ["credits_database_url"]
    [owner] = compose["services"]["migrate"]["secrets"]
    assert owner["source"] == "credits_migration_database_url"
    assert "credits_migration_database_url" not in secrets["service"]


def test_it_is_given_longer_than_it_takes_to_end() -> None:
    seconds = int(RAW["services"]["service"]["stop_grace_period"].removesuffix("s"))

    assert seconds >= Settings.model_fields["shutdown_seconds"].default + 10


def test_the_users_of_the_addresses_are_those_that_are_made() -> None:
    made = dict(
        re.findall(r"CREATE ROLE (\w+) LOGIN PASSWORD 'local-only' IN ROLE (\w+);", (PARTS / "roles.sql").read_text())
    )
    urls = {path.name: path.read_text("utf-8").strip() for path in LOCAL.glob("credits_*_url")}
    users = {
        name: re.fullmatch(r"postgresql://(\w+):local-only@postgres:5432/ledger", url) for name, url in urls.items()
    }

    assert {name: made[user[1]] for name, user in users.items() if user} == {
        "credits_database_url": "credits_service",
        "credits_relay_database_url": "credits_relay",
        "credits_read_database_url": "credits_reader",
        "credits_migration_database_url": "credits_owner",
    }


def test_they_may_do_what_the_page_of_access_has_them_do() -> None:
    page = "".join(
        re.findall(r"^```sql\n(.*?)^```", (DEPLOY / "POSTGRES_ACCESS.md").read_text(), re.DOTALL | re.MULTILINE)
    )
    written, local = (
        [line for line in text.splitlines() if not line.startswith("--")]
        for text in (page.replace("change-me", "local-only"), (PARTS / "roles.sql").read_text())
    )

    assert local == written


def test_the_token_that_is_told_is_the_one_that_opens() -> None:
    [token] = re.findall(r"^    (credits_\S+)$", (LOCAL / "README.md").read_text("utf-8"), re.MULTILINE)
    [kept] = json.loads((LOCAL / "credits_http_tokens").read_text("utf-8"))

    assert kept["sha256"] == hashlib.sha256(token.encode()).hexdigest()


def test_what_says_that_it_is_for_this_machine_only_is_said_of_all_that_is_secret() -> None:
    told = [path for path in LOCAL.iterdir() if path.name not in ("README.md", "credits_http_tokens")]

    assert all("local-only" in path.read_text("utf-8") for path in told)


def test_prometheus_reads_its_settings_and_scrapes_the_service(tmp_path: Path) -> None:
    settings = yaml.safe_load((PARTS / "prometheus.yaml").read_text("utf-8"))
    done = run_tool("promtool", "check", "config", "--syntax-only", PARTS / "prometheus.yaml", folder=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert settings["scrape_configs"][0]["static_configs"] == [{"targets": ["service:8081"]}]
    assert settings["rule_files"][0] in str(RAW["services"]["prometheus"]["volumes"])


def test_grafana_finds_its_source_and_the_dashboard(compose: dict[str, Any]) -> None:
    source = yaml.safe_load((PARTS / "grafana" / "datasources.yaml").read_text("utf-8"))["datasources"][0]
    folder = yaml.safe_load((PARTS / "grafana" / "dashboards.yaml").read_text("utf-8"))["providers"][0]["options"][
        "path"
    ]
    mounted = {volume["target"]: Path(volume["source"]) for volume in compose["services"]["grafana"]["volumes"]}
    home = compose["services"]["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]

    assert source["url"] == "http://prometheus:9090"
    assert mounted[home] == DASHBOARD
    assert str(Path(home).parent) == folder
