"""The chart, rendered as helm does: what a cluster gets is valid, small in rights, and ends in good order."""

from __future__ import annotations

import json
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import trustme
import yaml

from credit_service.settings import PREFIX, SECRETS_DIR_VARIABLE, Settings, load_settings
from support.deployed import CHART, DASHBOARD, REQUIRED, alerts, run_tool

VALUES = sorted((CHART / "ci").glob("*-values.yaml"))
KUBERNETES = ("1.31", "1.37")
SECRETS = {
    "database_url",
    "relay_database_url",
    "read_database_url",
    "migration_database_url",
    "kafka_sasl_password",
    "kafka_oauth_client_secret",
    "http_tokens",
}
# What the chart sets from values of its own, or nobody sets in a cluster.
OF_THE_CHART = {
    "http_host",
    "http_port",
    "health_host",
    "health_port",
    "shutdown_seconds",
    "kafka_ssl_cafile",
    "kafka_ssl_certfile",
    "kafka_ssl_keyfile",
    "kill_at",
    "instance_id",
}
EXAMPLES = {
    **{f"credits_{name}database_url": f"postgresql://{name}user:x@postgres/ledger" for name in ("", "relay_", "read_")},
    "credits_migration_database_url": "postgresql://owner:x@postgres/ledger",
    "credits_kafka_sasl_username": "credit-service",
    "credits_kafka_sasl_password": "x",
    "credits_kafka_oauth_client_secret": "x",
    "credits_http_tokens": "[]",
}
README = (CHART / "README.md").read_text("utf-8")
# What is told by the cluster, which is the name of the pod.
POD = "credits-credit-service-5d8f-x2x"
OF_OTHERS = ("keda.sh/", "monitoring.coreos.com/")


def helm(folder: Path, *arguments: str | Path) -> str:
    done = run_tool("helm", *arguments, folder=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def render(folder: Path, *arguments: str | Path, kubernetes: str = KUBERNETES[-1]) -> list[dict[str, Any]]:
    text = helm(folder, "template", "credits", CHART, "--namespace", "prod", "--kube-version", kubernetes, *arguments)
    return [document for document in yaml.safe_load_all(text) if document]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the chart makes of a file of values, by its name."""

    @cache
    def of(name: str) -> list[dict[str, Any]]:
        return render(tmp_path_factory.mktemp("helm"), "--values", CHART / "ci" / f"{name}-values.yaml")

    return of


def one(documents: list[dict[str, Any]], kind: str, ends: str = "") -> dict[str, Any]:
    [found] = [d for d in documents if d["kind"] == kind and d["metadata"]["name"].endswith(ends)]
    return found


def pods(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [d["spec"]["template"]["spec"] for d in documents if d["kind"] in ("Deployment", "Job")]


def environment(pod: dict[str, Any]) -> dict[str, Any]:
    return {variable["name"]: variable.get("value", POD) for variable in pod["containers"][0]["env"]}


def secret_at(pod: dict[str, Any], folder: str) -> tuple[str, set[str] | None]:
    """The Secret that is mounted there, and which of its keys are; None: all."""
    [mount] = [m for m in pod["containers"][0]["volumeMounts"] if m["mountPath"] == folder]
    [volume] = [v for v in pod["volumes"] if v["name"] == mount["name"]]
    if "secret" in volume:
        return volume["secret"]["secretName"], None
    sources = [source["secret"] for source in volume["projected"]["sources"]]
    [name] = {source["name"] for source in sources}
    return name, {item["path"] for source in sources for item in source["items"]}


def secret_value(values: Path, secret: str) -> str:
    """The value that names this Secret, as the README calls it."""
    given = yaml.safe_load(values.read_text("utf-8"))
    for job in ("migration", "topics"):
        if given.get(job, {}).get("existingSecret") == secret:
            return f"{job}.existingSecret"
    assert secret == given.get("existingSecret", "credit-service")
    return "existingSecret"


def keys_of(value: str, *, login: str | None, every: bool) -> set[str]:
    """The keys that the README says such a Secret holds; `login` is the setting that they log in with, if they do."""
    table = re.findall(r"^\| `(\S*existingSecret)` \|([^|]+)\|([^|]+)\|([^|]+)\|([^|]+)\|$", README, re.MULTILINE)
    [(needed, by_password, by_client, others)] = [columns for name, *columns in table if name == value]
    by = {None: "", "kafka_sasl_password": by_password, "kafka_oauth_client_secret": by_client}[login]
    return set(re.findall(r"`(\w+)`", needed + by + others * every))


def tls_files(folder: Path) -> None:
    """What `kafka.tlsSecret` holds."""
    folder.mkdir()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.crt")
    certificate = authority.issue_cert("credit-service")
    certificate.cert_chain_pems[0].write_to_path(folder / "tls.crt")
    certificate.private_key_pem.write_to_path(folder / "tls.key")


def moved(value: str, secrets: Path, kafka: Path) -> str:
    """Paths of a pod as they are here."""
    return value.replace("/etc/credits/secrets", str(secrets)).replace("/etc/credits/kafka", str(kafka))


def test_the_schema_has_the_settings_that_there_are_and_no_secret_among_them() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    secret = {name for name, field in Settings.model_fields.items() if "Secret" in str(field.annotation)}

    assert secret <= SECRETS
    assert (
        set(schema["properties"]["settings"]["propertyNames"]["enum"])
        == {*Settings.model_fields} - SECRETS - OF_THE_CHART
    )


def test_every_value_stands_in_the_readme_with_its_default() -> None:
    told = dict(re.findall(r"^\| `([\w.]+)` \| `([^`]*)` \|", README.partition("## Values")[2], re.MULTILINE))

    def flat(values: dict[str, Any], path: str = "") -> dict[str, str]:
        found: dict[str, str] = {}
        for name, value in values.items():
            if isinstance(value, dict) and value and not path and name not in ("resources",):
                found |= flat(value, f"{name}.")
            else:
                found[path + name] = json.dumps(value) if isinstance(value, dict | list | str) else str(value).lower()
        return found

    assert told == {
        name: value.strip('"') for name, value in flat(yaml.safe_load((CHART / "values.yaml").read_text())).items()
    }


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_the_linter_has_nothing_to_say(values: Path, tmp_path: Path) -> None:
    assert "0 chart(s) failed" in helm(tmp_path, "lint", "--strict", CHART, "--values", values)


@pytest.mark.parametrize("kubernetes", KUBERNETES)
@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_a_cluster_takes_it(values: Path, kubernetes: str, tmp_path: Path) -> None:
    for document in render(tmp_path, "--values", values, kubernetes=kubernetes):
        if not document["apiVersion"].startswith(OF_OTHERS):
            kubernetes_validate.validate(document, kubernetes, strict=True)


def test_the_settings_of_all_processes_are_settings(rendered: Any) -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | {SECRETS_DIR_VARIABLE}

    for pod in pods(rendered("everything")):
        assert set(environment(pod)) <= known
        if pod["containers"][0]["name"] != "migrate":
            assert environment(pod)["CREDITS_BATCH_RECORDS_MAX"] == "20000"


def test_no_secret_is_in_what_is_rendered_but_by_its_name(rendered: Any) -> None:
    documents = rendered("everything")
    secret = {f"{PREFIX}{name.upper()}" for name in SECRETS}

    assert not [d for d in documents if d["kind"] == "Secret"]
    for pod in pods(documents):
        assert not secret & set(environment(pod))
        folder = environment(pod)[SECRETS_DIR_VARIABLE]
        assert all(m["readOnly"] for m in pod["containers"][0]["volumeMounts"] if m["mountPath"] == folder)
        named = {"service": "credits", "migrate": "credits-owner", "topics": "credits-topics"}
        assert secret_at(pod, folder)[0] == named[pod["containers"][0]["name"]]


@pytest.mark.parametrize("keys", ["needed", "all"])
@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_each_process_starts_with_what_its_secret_is_said_to_hold(
    values: Path, keys: str, rendered: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in [name for name in os.environ if name.startswith(PREFIX) and name != REQUIRED]:
        monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)
    tls_files(tmp_path / "kafka")
    chosen = values.read_text("utf-8")
    login = "kafka_oauth_client_secret" if "OAUTH" in chosen else "kafka_sasl_password" if "SASL" in chosen else None
    for number, pod in enumerate(pods(rendered(values.stem.removesuffix("-values")))):
        variables, name = environment(pod), pod["containers"][0]["name"]
        secret, taken = secret_at(pod, variables[SECRETS_DIR_VARIABLE])
        held = keys_of(secret_value(values, secret), login=login, every=keys == "all")
        folder = tmp_path / str(number)
        folder.mkdir()
        for key in held if taken is None else held & taken:
            (folder / key).write_text(EXAMPLES[key])
        with monkeypatch.context() as environ:
            for variable, value in variables.items():
                environ.setenv(variable, moved(value, folder, tmp_path / "kafka"))

            settings = load_settings()

        assert settings.database_url.get_secret_value() == EXAMPLES["credits_database_url"], name
        held_login = [n for n in ("kafka_sasl_password", "kafka_oauth_client_secret") if getattr(settings, n)]
        assert held_login == ([login] if login and name != "migrate" else []), name


def test_whoever_asks_postgres_is_told_where_its_password_is(tmp_path: Path) -> None:
    values, at = CHART / "ci" / "smallest-values.yaml", "settings.database_password_"
    for setting in ("file=/etc/postgres/password", "command=/opt/token"):
        documents = render(tmp_path, "--values", values, "--set", f"{at}{setting}")
        name, _, told = setting.partition("=")
        found = [environment(pod).get(f"CREDITS_DATABASE_PASSWORD_{name.upper()}") for pod in pods(documents)]
        assert found == [told] * len(found)
        assert len(found) >= 2


def test_each_process_has_a_folder_that_it_can_write_and_that_has_a_bound(rendered: Any) -> None:
    """Dry runs and replays note what they have seen in temporary files."""
    for values in VALUES:
        for pod in pods(rendered(values.stem.removesuffix("-values"))):
            for container in pod["containers"]:
                assert container["securityContext"]["readOnlyRootFilesystem"]
                [mount] = [m for m in container["volumeMounts"] if m["mountPath"] == "/tmp"]  # noqa: S108 - of a pod
                [volume] = [v for v in pod["volumes"] if v["name"] == mount["name"]]
                assert not mount.get("readOnly")
                assert volume["emptyDir"]["sizeLimit"] == "1Gi"


def test_every_process_has_few_rights_and_bounds(rendered: Any) -> None:
    for pod in pods(rendered("everything")):
        container = pod["containers"][0]
        assert pod["securityContext"] | {"runAsUser": 10001, "runAsNonRoot": True} == pod["securityContext"]
        assert pod["automountServiceAccountToken"] is False
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"].keys() >= {"cpu", "memory"}
        assert container["resources"]["limits"]["memory"]


def test_the_schema_is_brought_up_before_the_rollout_and_the_topics_after_it(rendered: Any) -> None:
    jobs = {name: one(rendered("everything"), "Job", name)["metadata"]["annotations"] for name in ("migrate", "topics")}

    assert {job["helm.sh/hook"] for job in jobs.values()} == {"pre-install,pre-upgrade"}
    assert int(jobs["migrate"]["helm.sh/hook-weight"]) < int(jobs["topics"]["helm.sh/hook-weight"])
    assert [d for d in rendered("smallest") if d["kind"] == "Job"] == [one(rendered("smallest"), "Job", "migrate")]


def test_a_job_needs_nothing_that_the_rollout_brings(rendered: Any) -> None:
    for document in (d for d in rendered("everything") if d["kind"] == "Job"):
        assert "serviceAccountName" not in document["spec"]["template"]["spec"]
        assert "envFrom" not in document["spec"]["template"]["spec"]["containers"][0]


def test_probes_ask_where_health_is_answered(rendered: Any) -> None:
    pod = one(rendered("smallest"), "Deployment")["spec"]["template"]["spec"]
    container, variables = pod["containers"][0], environment(pod)
    ports = {port["name"]: str(port["containerPort"]) for port in container["ports"]}

    assert (container["livenessProbe"]["httpGet"], container["readinessProbe"]["httpGet"]) == (
        {"path": "/livez", "port": "health"},
        {"path": "/readyz", "port": "health"},
    )
    assert ports == {"health": variables["CREDITS_HEALTH_PORT"]}
    assert variables["CREDITS_HEALTH_HOST"] == "0.0.0.0"  # noqa: S104 - inside a pod
    assert "CREDITS_HTTP_HOST" not in variables, "the API stays on loopback unless it is asked for"


def test_a_member_has_the_name_of_its_pod_and_no_job_has(rendered: Any) -> None:
    documents = rendered("everything")
    pod = one(documents, "Deployment")["spec"]["template"]["spec"]
    [named] = [variable for variable in pod["containers"][0]["env"] if variable["name"] == "CREDITS_INSTANCE_ID"]

    assert named == {"name": "CREDITS_INSTANCE_ID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    for job in (document for document in documents if document["kind"] == "Job"):
        assert "CREDITS_INSTANCE_ID" not in environment(job["spec"]["template"]["spec"])


@pytest.mark.parametrize(("values", "seconds"), [("smallest", 25), ("everything", 40)])
def test_a_pod_is_given_longer_than_the_service_takes_to_end(rendered: Any, values: str, seconds: int) -> None:
    pod = one(rendered(values), "Deployment")["spec"]["template"]["spec"]

    assert environment(pod)["CREDITS_SHUTDOWN_SECONDS"] == str(seconds)
    assert pod["terminationGracePeriodSeconds"] >= seconds + 10


def test_two_members_on_machines_of_their_own_and_one_at_a_time_goes(rendered: Any) -> None:
    documents = rendered("smallest")
    deployment = one(documents, "Deployment")
    spread = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]

    assert deployment["spec"]["replicas"] == 2
    assert [each["topologyKey"] for each in spread] == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    assert one(documents, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    labels = deployment["spec"]["template"]["metadata"]["labels"].items()
    for chosen in (
        deployment["spec"]["selector"]["matchLabels"],
        one(documents, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        one(documents, "Service")["spec"]["selector"],
        *(each["labelSelector"]["matchLabels"] for each in spread),
    ):
        assert chosen.items() <= labels
        assert not chosen.items() <= one(documents, "Job")["spec"]["template"]["metadata"]["labels"].items()


def test_what_scales_it_ends_at_the_partitions(rendered: Any, tmp_path: Path) -> None:
    for values, kind, most in (
        ("hpa", "HorizontalPodAutoscaler", "maxReplicas"),
        ("everything", "ScaledObject", "maxReplicaCount"),
    ):
        assert one(rendered(values), kind)["spec"][most] == 12
        assert "replicas" not in one(rendered(values), "Deployment")["spec"]
    smallest = ("--values", str(CHART / "ci" / "smallest-values.yaml"))
    for setting in ("replicas=13", "autoscaling.kind=hpa,autoscaling.maxReplicas=13"):
        done = run_tool(
            "helm", "template", "credits", CHART, *smallest, "--kube-version", "1.37", "--set", setting, folder=tmp_path
        )
        assert done.returncode != 0
        assert "13 members for 12 partitions" in done.stderr


def test_keda_asks_for_this_release_alone_unless_it_is_told_what_to_ask(rendered: Any, tmp_path: Path) -> None:
    values = CHART / "ci" / "everything-values.yaml"
    told = render(tmp_path, "--values", values, "--set", "autoscaling.query=up")
    queries = [
        one(d, "ScaledObject")["spec"]["triggers"][0]["metadata"]["query"] for d in (rendered("everything"), told)
    ]

    assert queries == ['sum(credits_lag_messages{namespace="prod"})', "up"]


def test_old_members_wait_for_new_ones_unless_it_is_told_otherwise(rendered: Any, tmp_path: Path) -> None:
    values = CHART / "ci" / "smallest-values.yaml"
    told = render(tmp_path, "--values", values, "--set", "rollout.maxUnavailable=100%")
    rollouts = [one(d, "Deployment")["spec"]["strategy"]["rollingUpdate"] for d in (rendered("smallest"), told)]

    assert rollouts == [{"maxSurge": 1, "maxUnavailable": 0}, {"maxSurge": 1, "maxUnavailable": "100%"}]
    kubernetes_validate.validate(one(told, "Deployment"), KUBERNETES[-1], strict=True)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("replcas=2", "replcas"),
        ("settings.batch_record_max=5", "batch_record_max"),
        ("settings.database_url=postgresql://x", "database_url"),
        ("settings.kafka_bootstrap_servers=null", "kafka_bootstrap_servers"),
        ("existingSecret=", "existingSecret"),
        ("image.digest=latest", "digest"),
        ("rollout.maxUnavailable=all", "maxUnavailable"),
        ("temporaryFolder.sizeLimit=much", "sizeLimit"),
    ],
)
def test_a_value_that_is_wrong_is_refused_by_its_name(setting: str, said: str, tmp_path: Path) -> None:
    values = CHART / "ci" / "smallest-values.yaml"
    done = run_tool(
        "helm",
        "template",
        "credits",
        CHART,
        "--values",
        values,
        "--kube-version",
        "1.37",
        "--set",
        setting,
        folder=tmp_path,
    )

    assert done.returncode != 0
    assert said in done.stderr


def test_alerts_and_dashboard_are_the_files(rendered: Any) -> None:
    documents = rendered("everything")
    rules = [rule for group in one(documents, "PrometheusRule")["spec"]["groups"] for rule in group["rules"]]
    pages = {rule["annotations"].pop("runbook_url") for rule in rules}

    assert pages == {f"https://wiki.example/credit-service/runbook/{rule['alert']}.md" for rule in alerts()}
    assert rules == [
        rule | {"annotations": {k: v for k, v in rule["annotations"].items() if k != "runbook_url"}}
        for rule in alerts()
    ]
    assert one(documents, "ConfigMap")["data"]["credit-service.json"] == DASHBOARD.read_text("utf-8")
