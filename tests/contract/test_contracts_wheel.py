"""The wheel is all that another team needs: installed alone, with what it asks for."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import credit_contracts
from support.patience import patience
from support.readme import CONTRACTS, programs

PRODUCER = """
from datetime import UTC, datetime

from credit_contracts import Encoded, Event, PlanChanged, attempt_id, build, encode


def plan(account_id: str, change_id: str, monthly_credits: int | None) -> Event[PlanChanged]:
    event_id = attempt_id("plan-changed", account_id, change_id, attempt=1)
    return build(
        PlanChanged, "/billing", event_id, datetime.now(UTC),
        account_id=account_id, plan_id="growth", monthly_credits=monthly_credits,
    )


def record(account_id: str, change_id: str) -> Encoded:
    return encode(plan(account_id, change_id, None))
"""
WRONG = {
    "a field that lacks": ('account_id="a"', 'Missing named argument "prospect_id"'),
    "a field that there is not": ('account_id="a", prospect_id="p", campaing_id="c"', "Unexpected keyword argument"),
    "a field of another type": ('account_id="a", prospect_id=5', 'Argument "prospect_id"'),
}


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has the wheel and what it needs; nothing was fetched."""
    folder = tmp_path_factory.mktemp("alone")
    source = shutil.copytree(CONTRACTS, folder / "source")
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder), folder=source)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    python = folder / "venv" / "bin" / "python"
    (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    for name in needed("credit-contracts") - {"credit-contracts"}:
        for file in distribution(name).files or ():
            if file.suffix != ".pyc" and ".." not in file.parts:
                (packages / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(file.locate()), packages / file)
    uv = Path(sys.executable).with_name("uv")
    offline = ["--offline", "--no-index", "--python", str(python)]
    run(str(uv), "pip", "install", "--quiet", *offline, str(wheel), folder=folder)
    return python


def needed(name: str) -> set[str]:
    """A package and all that it needs, as installed here."""
    requirements = [Requirement(text) for text in distribution(name).requires or ()]
    plain = {one.name for one in requirements if one.marker is None or one.marker.evaluate({"extra": ""})}
    return {name}.union(*(needed(one) for one in plain))


def run(*command: str, folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=patience(120), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_wheel_is_installed_with_what_it_needs_alone_and_all_its_names_are_there(python: Path, tmp_path: Path) -> None:
    asked = """
import credit_contracts, sys
from importlib.metadata import distributions
from pathlib import Path
from credit_contracts import *
from credit_contracts.examples import examples
from credit_contracts.schemas import published, schema
from credit_contracts.topics_page import page
assert set(credit_contracts.__all__) <= globals().keys()
assert Path(credit_contracts.__file__).with_name("py.typed").is_file()
assert all(schema(topic, n) for topic, numbers in published().items() for n in numbers)
assert page()
print(*sorted(credit_contracts.__all__), len(examples()), len(published()))
print(*sorted(found.name for found in distributions()))
"""
    names, installed = run(str(python), "-I", "-c", asked, folder=tmp_path).splitlines()
    assert names.split()[:-2] == sorted(credit_contracts.__all__)
    assert {name.replace("_", "-") for name in installed.split()} == {"credit-contracts", "tzdata", *needed("pydantic")}


def test_time_zones_are_known_where_the_system_has_none(python: Path, tmp_path: Path) -> None:
    asked = """
import zoneinfo
from datetime import UTC, datetime
from credit_contracts import PlanChanged, build, decode, encode
assert zoneinfo.TZPATH == ()
plan = {"account_id": "a", "plan_id": "p", "monthly_credits": 1, "time_zone": "Europe/Berlin"}
event = build(PlanChanged, "/billing", "1", datetime(2026, 3, 2, tzinfo=UTC), **plan)
record = encode(event)
assert decode(record.headers, record.value) == event
"""
    run("env", "PYTHONTZPATH=", str(python), "-c", asked, folder=tmp_path)


def test_strict_type_checker_knows_what_is_right_and_what_is_wrong(python: Path, tmp_path: Path) -> None:
    """One run for all, as most of its time goes into pydantic."""
    (tmp_path / "producer.py").write_text(PRODUCER)
    (tmp_path / "balances.py").write_text(programs()["balances.py"])
    head = "from datetime import UTC, datetime\nfrom credit_contracts import ProspectGenerated, build\n"
    for number, (fields, _) in enumerate(WRONG.values()):
        call = f'build(ProspectGenerated, "/campaigns", "1", datetime.now(UTC), {fields})\n'
        (tmp_path / f"wrong_{number}.py").write_text(head + call)
    forgotten = programs()["balances.py"].replace("case Late():", "case Repeat():")
    (tmp_path / "forgotten.py").write_text(forgotten)
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(python), "--no-error-summary"]
    files = sorted(str(file.name) for file in tmp_path.glob("*.py"))
    done = subprocess.run(
        [*command, *files], cwd=tmp_path, capture_output=True, text=True, timeout=patience(170), check=False
    )
    told = {file: [line for line in done.stdout.splitlines() if line.startswith(f"{file}:")] for file in files}
    assert (told.pop("producer.py"), told.pop("balances.py"), done.stderr) == ([], [], ""), done.stdout
    (unreachable,) = told.pop("forgotten.py")
    assert 'Argument 1 to "assert_never" has incompatible type "Late"' in unreachable
    for file, (_, due) in zip(sorted(told), WRONG.values(), strict=True):
        (line,) = (line for line in told[file] if ": error: " in line)
        assert due in line


def test_programs_of_the_readme_pass_a_strict_type_checker(tmp_path: Path, cache: pytest.Cache) -> None:
    """Here the clients are installed as well; aiokafka has no types. What is known of the clients is kept."""
    for name, text in programs().items():
        (tmp_path / name).write_text(text)
    (tmp_path / "mypy.ini").write_text("[mypy]\nstrict = true\n[mypy-aiokafka.*]\nignore_missing_imports = true\n")
    kept = cache.mkdir("mypy-of-the-readme")
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--cache-dir", str(kept), *sorted(programs())]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=patience(170), check=False)
    assert (done.stdout, done.stderr) == ("", "")
