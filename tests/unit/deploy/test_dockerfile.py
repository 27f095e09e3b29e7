"""The image's recipe keeps to its rules, which a linter cannot know."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from credit_service.settings import PREFIX, SECRETS_DIR_VARIABLE, Settings
from support.dockerfile import DOCKERFILE, ROOT, environment_of, stages
from support.patience import patience

LOCK = ROOT / "requirements.lock"
PINNED = ROOT / "deploy" / "docker" / "pinned.py"
BUILD, FINAL = stages()


def values(name: str) -> list[str]:
    return [one.value for one in FINAL if one.name == name]


def pinned(*wanted: str, lock: Path = LOCK) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, PINNED, lock, *wanted],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=patience(30),
    )


def test_the_linter_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False, timeout=patience(30))

    assert (done.returncode, done.stdout) == (0, "")


def test_the_base_has_a_tag_that_names_a_version() -> None:
    [base] = re.findall(r"^ARG BASE=(\S+)$", DOCKERFILE.read_text("utf-8"), re.MULTILINE)

    assert re.fullmatch(r"python:3\.\d+-slim-[a-z]+", base)
    assert [stage[0].value for stage in (BUILD, FINAL)] == ["${BASE} AS build", "${BASE}"]


def test_it_runs_as_a_number_that_is_not_root() -> None:
    assert values("USER") == ["10001:10001"]


def test_signals_reach_the_service_and_not_a_shell() -> None:
    assert json.loads(values("ENTRYPOINT")[0]) == ["credits"]
    assert json.loads(values("CMD")[0]) == ["serve"]
    assert values("STOPSIGNAL") == ["SIGTERM"]


def test_its_health_is_asked_without_a_shell_where_the_service_answers() -> None:
    [check] = values("HEALTHCHECK")
    command = json.loads(check.partition(" CMD ")[2])
    compile(command[2], "the health check", "exec")

    assert command[:2] == ["python", "-c"]
    assert "/livez" in command[2]
    assert environment_of(FINAL)["CREDITS_HEALTH_HOST"] == "0.0.0.0"  # noqa: S104 - inside a container


def test_the_settings_that_it_makes_exist_and_are_no_secrets() -> None:
    named = {name for name in environment_of(FINAL) if name.startswith(PREFIX)}
    fields = {f"{PREFIX}{name}".upper(): field for name, field in Settings.model_fields.items()}

    assert named <= {*fields, SECRETS_DIR_VARIABLE}
    assert not any("Secret" in str(fields[name].annotation) for name in named)
    assert not [one.value for one in (*BUILD, *FINAL) if re.search(r"(?i)password|token|secret", one.value)]


def test_each_install_holds_to_the_lock_by_its_hashes() -> None:
    installs = [
        part
        for one in (*BUILD, *FINAL)
        if one.name == "RUN"
        for part in one.value.split(" && ")
        if re.search(r"\bpip install\b", part)
    ]
    from_elsewhere = [part for part in installs if "--require-hashes" not in part]

    assert len(installs) == 4
    assert [shlex.split(part)[-1] for part in from_elsewhere] == ["wheels/*.whl"]
    assert all("--offline --no-deps" in part for part in from_elsewhere)
    assert all("-c requirements.lock" in part or "--no-deps" in part for part in installs)


def test_all_that_is_copied_is_in_the_build_context() -> None:
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    let_in = {line[1:] for line in ignored if line.startswith("!")}
    copied = {
        source
        for one in (*BUILD, *FINAL)
        if one.name == "COPY" and not one.value.startswith("--from")
        for source in one.value.split()[:-1]
    }

    assert "*" in ignored
    assert {source for source in copied if not (ROOT / source).exists()} == set()
    assert {
        source for source in copied if not any(source == one or source.startswith(f"{one}/") for one in let_in)
    } == set()
    assert {
        one for one in let_in if not any(source == one or source.startswith(f"{one}/") for source in copied)
    } == set()


def test_what_the_service_depends_on_is_pinned_with_all_its_hashes() -> None:
    done = pinned("service/pyproject.toml")
    wanted = tomllib.loads((ROOT / "service" / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    pins = re.findall(r"^([a-z0-9-]+)(\[\S+\])?==\S+", done.stdout, re.MULTILINE)
    aiokafka = done.stdout.split("\n    --hash=", 1)[1].partition("\nasyncpg")[0]

    assert done.returncode == 0, done.stderr
    assert [name for name, _ in pins] == sorted(
        re.split(r"[\[>]", one)[0] for one in wanted if one != "credit-contracts"
    )
    assert ("faststream", "[kafka]") in pins
    assert aiokafka in LOCK.read_text("utf-8")


def test_what_the_lock_does_not_have_ends_the_build(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("uv==0.1.0 \\\n    --hash=sha256:00\n")

    assert pinned("uv", lock=lock).stdout == "uv==0.1.0 \\\n    --hash=sha256:00\n"
    done = pinned("uv", "hatchling", lock=lock)
    assert (done.returncode, done.stdout) == (1, "")
    assert "hatchling: not in " in done.stderr


@pytest.mark.parametrize("left_out", ["**/__pycache__", "**/.env*"])
def test_what_a_checkout_collects_stays_out_of_the_image(left_out: str) -> None:
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()

    assert ignored.index(left_out) > max(i for i, line in enumerate(ignored) if line.startswith("!"))
