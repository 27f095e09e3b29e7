"""What is released: the wheels have all that runs, and every copy of the version is the version."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

from support.patience import patience

ROOT = Path(__file__).parents[3]
VERSION = (ROOT / "VERSION").read_text().strip()
PACKAGES = {
    "credit-contracts": ROOT / "contracts",
    "credit-service": ROOT / "service",
    "credit-local-stack": ROOT / "deploy" / "local_stack",
}
COPIES = {
    "deploy/docker/Dockerfile": r"^ARG VERSION=(.+)$",
    "deploy/helm/credit-service/Chart.yaml": r'^(?:version|appVersion): "?([^"\n]+)"?$',
    "deploy/helm/credit-service/README.md": r"credit-service:(\d[^\s`]*)",
    "contracts/pyproject.toml": r'^version = "([^"]+)"',
    "contracts/asyncapi.json": r'^    "version": "(.+)",$',
}


def run(*command: str | Path, folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=patience(120), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(source: Path, target: str, folder: Path) -> Path:
    before = {*folder.iterdir()}
    run(sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", folder, folder=source)
    (built,) = {*folder.iterdir()} - before
    return built


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A wheel of each package."""
    folder = tmp_path_factory.mktemp("wheels")
    return {name: build(source, "wheel", folder) for name, source in PACKAGES.items()}


@pytest.fixture(scope="module")
def programs(released: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that has the wheels; what they need is found where the tests run."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    (packages,) = (folder / "lib").glob("python*/site-packages")
    # Behind the wheels, and without the links to the sources: those are in files that are not read there.
    (packages / "needed.pth").write_text(sysconfig.get_path("purelib"))
    uv = Path(sys.executable).with_name("uv")
    offline = ["--quiet", "--offline", "--no-index", "--no-deps", "--python", str(folder / "bin" / "python")]
    run(uv, "pip", "install", *offline, *released.values(), folder=folder)
    return folder / "bin"


def test_the_command_runs_from_the_wheels(programs: Path, tmp_path: Path) -> None:
    where = run(programs / "python", "-c", "import credit_service as s; print(s.__file__)", folder=tmp_path)
    assert Path(where.strip()).is_relative_to(programs.parent)
    assert "Usage: credits" in run(programs / "credits", "--help", folder=tmp_path)
    document = run(programs / "credits", "asyncapi", "--default", folder=tmp_path)
    assert document == (ROOT / "contracts" / "asyncapi.json").read_text()


@pytest.mark.parametrize("name", PACKAGES)
def test_the_wheel_has_every_file_of_its_package_and_the_licence(name: str, released: dict[str, Path]) -> None:
    """Statements, migrations, schemas, the AsyncAPI page, py.typed: whatever git has."""
    source = PACKAGES[name] / "src"
    files = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", folder=source).split("\0")
    module = name.replace("-", "_")
    with zipfile.ZipFile(released[name]) as wheel:
        names = set(wheel.namelist())
        licence = wheel.read(f"{module}-{VERSION}.dist-info/licenses/LICENSE").decode()
        metadata = wheel.read(f"{module}-{VERSION}.dist-info/METADATA").decode()
    assert {file for file in files if file and (source / file).exists()} <= names
    assert f"{module}/py.typed" in names
    assert licence == (ROOT / "LICENSE").read_text()
    assert "License-Expression: Apache-2.0\n" in metadata
    readme = (PACKAGES[name] / "README.md").read_text()
    assert metadata.endswith(readme)


def test_a_wheel_is_built_from_a_source_distribution_as_well(released: dict[str, Path], tmp_path: Path) -> None:
    """There, `VERSION` is not beside the package."""
    archive = build(PACKAGES["credit-service"], "sdist", tmp_path)
    run("tar", "xzf", archive, folder=tmp_path)
    wheel = build(tmp_path / archive.name.removesuffix(".tar.gz"), "wheel", tmp_path)
    assert wheel.read_bytes() == released["credit-service"].read_bytes()


def test_an_index_can_show_them(released: dict[str, Path], tmp_path: Path) -> None:
    run(sys.executable, "-m", "twine", "check", "--strict", *released.values(), folder=tmp_path)


@pytest.mark.parametrize("file", COPIES)
def test_every_copy_of_the_version_is_the_version(file: str) -> None:
    found = re.findall(COPIES[file], (ROOT / file).read_text(), re.MULTILINE)
    assert {*found} == {VERSION}, f"{file}: VERSION has {VERSION}"


@pytest.mark.parametrize("name", ["credit-service", "credit-local-stack"])
def test_the_packages_take_the_version_from_its_file(name: str) -> None:
    project = tomllib.loads((PACKAGES[name] / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert (PACKAGES[name] / project["tool"]["hatch"]["version"]["path"]).resolve() == ROOT / "VERSION"
    assert version(name) == VERSION, "make setup"
