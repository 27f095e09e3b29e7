"""What is installed: locked, listed, licensed, and looked up in a feed of vulnerabilities, here one on loopback."""

import json
import re
import runpy
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from support.patience import patience

ROOT = Path(__file__).parents[2]
CI = ROOT / ".ci"
FOLDERS = (".", "contracts", "service", "deploy/local_stack")
PYPROJECTS = [tomllib.loads((ROOT / folder / "pyproject.toml").read_text()) for folder in FOLDERS]
WHOLE_LOCK = (ROOT / "requirements.lock").read_text()
LOCK = "".join(f"{name}==1.0 --hash=sha256:{'0' * 64}\n" for name in ("sound", "rotten"))

A_HOLE = {
    "id": "GHSA-1",
    "summary": "Anybody may do anything",
    "affected": [
        {
            "package": {"name": "rotten", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.1"}]}],
        }
    ],
}


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a script as a program, in this process, which has imported most of what it needs."""
    monkeypatch.syspath_prepend(CI)

    def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", [f"{script}.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(CI / f"{script}.py"), run_name="__main__")
        assert isinstance(end.value.code, int)
        return subprocess.CompletedProcess(sys.argv, end.value.code, *capsys.readouterr())

    return run


# --- the lock


def asked_for() -> Iterator[str]:
    yield from PYPROJECTS[0]["dependency-groups"]["dev"]
    for project in PYPROJECTS:
        yield from project["project"]["dependencies"]
        for lines in project["project"].get("optional-dependencies", {}).values():
            yield from lines


def test_the_lock_has_a_version_of_everything_that_a_pyproject_asks_for() -> None:
    versions = dict(re.findall(r"^([^ =]+)==([^ ]+)", WHOLE_LOCK, re.MULTILINE))

    for requirement in map(Requirement, asked_for()):
        if not requirement.name.startswith("credit-"):
            assert versions[canonicalize_name(requirement.name)] in requirement.specifier, str(requirement)


def test_every_line_of_the_lock_has_hashes() -> None:
    for lines in re.split(r"^(?=[^ ])", WHOLE_LOCK, flags=re.MULTILINE)[1:]:
        assert "--hash=sha256:" in lines, lines


# --- what the service installs


def test_the_bill_of_materials_is_valid_and_whole(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    validated = []
    validate = JsonStrictValidator.validate_str

    def seen(self: JsonStrictValidator, text: str) -> object:
        validated.append((self.schema_version, text, validate(self, text)))
        return validated[-1][-1]

    # The program's own look is watched: it takes seconds, and a second one tells nothing new.
    monkeypatch.setattr(JsonStrictValidator, "validate_str", seen)

    done = run("sbom", tmp_path / "sbom.json")

    assert done.returncode == 0, done.stderr
    text = (tmp_path / "sbom.json").read_text()
    assert validated == [(SchemaVersion.V1_6, text, None)]
    bill = json.loads(text)
    parts = {part["name"]: part for part in bill["components"]}
    assert {"aiokafka", "asyncpg", "credit-contracts", "pydantic-core"} <= parts.keys()
    assert not {"pytest", "jgo", "credit-local-stack", "testcontainers"} & parts.keys()
    page = parts.pop("react-component")
    assert page["purl"] == "pkg:npm/%40asyncapi/react-component@3.2.1"
    assert [file["name"] for file in page["components"]] == ["asyncapi.min.css", "asyncapi.min.js"]
    for name, part in parts.items():
        assert part["version"] == version(name)
        assert part["licenses"]
        assert name == "credit-contracts" or part["externalReferences"][0]["hashes"]
    needs = {each["ref"]: each["dependsOn"] for each in bill["dependencies"]}
    assert "aiokafka" in needs["credit-service"]
    assert page["bom-ref"] in needs["credit-service"]
    assert needs.keys() == parts.keys() | {"credit-service", page["bom-ref"]}


def test_every_licence_is_allowed() -> None:
    command = [sys.executable, str(CI / "licences.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=patience(60))

    assert done.returncode == 0, done.stderr
    assert re.search(r"^aiokafka +\S+ +Apache-2.0$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("licence", "refused"),
    [
        ("MIT", False),
        ("GPL-3.0-only", True),
        ("unknown", True),
        ("MIT OR GPL-3.0-only", False),
        ("MIT AND GPL-3.0-only", True),
        ("GPL-3.0-only OR MIT AND BSD-2-Clause", False),
    ],
)
def test_a_licence_without_a_reason_is_refused(licence: str, refused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(CI)
    from licences import not_allowed

    assert not_allowed(licence, {"MIT": "", "BSD-2-Clause": ""}) is refused


# --- vulnerabilities


@contextmanager
def feed(answers: dict[str, Any], status: int = 200) -> Iterator[str]:
    """Answers as an OSV API does: nothing, if nothing is known."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            name = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["package"]["name"]
            self.send_response(status if name not in answers or isinstance(answers[name], dict) else answers[name])
            self.end_headers()
            self.wfile.write(json.dumps({"vulns": [answers[name]]} if name in answers else {}).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def audit(run: Run, feed: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "lock").write_text(LOCK)
    return run("audit", "--lock", folder / "lock", "--feed", feed)


def test_nothing_known_is_well(run: Run, tmp_path: Path) -> None:
    with feed({}) as url:
        done = audit(run, url, tmp_path)

    assert (done.returncode, done.stdout) == (0, "audit: 2 packages, 0 vulnerable, 0 not looked at\n"), done.stderr


def test_a_known_vulnerability_fails(run: Run, tmp_path: Path) -> None:
    with feed({"rotten": A_HOLE}) as url:
        done = audit(run, url, tmp_path)

    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "rotten 1.0: GHSA-1, mended in 1.1: Anybody may do anything",
        "audit: 2 packages, 1 vulnerable, 0 not looked at",
    ]


def test_a_feed_that_is_away_is_said_and_does_not_fail(run: Run, tmp_path: Path) -> None:
    with feed({}) as url:
        pass

    done = audit(run, url, tmp_path)

    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith(f"audit: SKIPPED, nothing was looked at: the feed {url} cannot be reached: ")


def test_something_else_in_the_place_of_the_feed_is_not_taken_for_good_news(run: Run, tmp_path: Path) -> None:
    with feed({}, status=404) as url:
        done = audit(run, url, tmp_path)

    assert done.stderr.startswith("audit: SKIPPED")
    assert "404" in done.stderr


def test_a_feed_that_breaks_off_fails(run: Run, tmp_path: Path) -> None:
    with feed({"rotten": 503}) as url:
        done = audit(run, url, tmp_path)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("audit: broken off: ")
