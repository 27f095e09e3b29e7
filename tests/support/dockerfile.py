"""A parsed Dockerfile, and its build stage run without Docker, below a folder instead of in an image."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from support.patience import patience

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"
STEP_SECONDS_MAX = 120
ROOTED = re.compile(r"(?<![\w.])/(?=(?:opt|src)\b)")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction, its lines joined."""

    name: str
    value: str


def stages() -> list[list[Instruction]]:
    """The instructions of each stage, which begins with its FROM."""
    lines = [line for line in DOCKERFILE.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    found: list[list[Instruction]] = []
    for text in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, value = text.partition(" ")
        if name == "FROM":
            found.append([])
        if found:
            found[-1].append(Instruction(name, " ".join(value.split())))
    return found


def environment_of(stage: list[Instruction]) -> dict[str, str]:
    """What its ENV instructions set."""
    words = [word for one in stage if one.name == "ENV" for word in shlex.split(one.value)]
    return dict(word.split("=", 1) for word in words)


def build_below(folder: Path) -> Path:
    """Runs the commands of the build stage with `folder` for a root; returns where the last stage takes from."""
    subprocess.run([sys.executable, "-m", "venv", folder / "usr"], check=True, timeout=patience(STEP_SECONDS_MAX))
    build = stages()[0]
    kept = {name: os.environ[name] for name in os.environ if not name.startswith(("PYTHON", "VIRTUAL_ENV", "CREDITS_"))}
    # Downloads that `make setup` has made already are not made again; in an image there are none.
    variables = kept | environment_of(build) | {"PATH": f"{folder / 'usr/bin'}{os.pathsep}{os.environ['PATH']}"}
    variables.pop("UV_NO_CACHE", None)
    workdir = folder
    for step in build:
        if step.name == "WORKDIR":
            workdir = folder / step.value.removeprefix("/")
            workdir.mkdir(parents=True)
        elif step.name == "COPY":
            *sources, target = step.value.split()
            for source in sources:
                _copy(ROOT / source, workdir / target)
        elif step.name == "RUN":
            command = ROOTED.sub(f"{folder}/", step.value)
            done = subprocess.run(
                ["/bin/sh", "-c", command],
                cwd=workdir,
                env=variables,
                capture_output=True,
                text=True,
                timeout=patience(STEP_SECONDS_MAX),
                check=False,
            )
            if done.returncode:
                raise AssertionError(f"RUN {step.value}\n{done.stdout}{done.stderr}")
    return folder / "opt" / "credits"


def _copy(source: Path, target: Path) -> None:
    """As COPY does: what a folder holds into the target, a file into a folder or as the target."""
    if source.is_dir():
        left_out = shutil.ignore_patterns("__pycache__", "*.egg-info", ".env*")
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=left_out)
    elif target.is_dir():
        shutil.copy(source, target)
    else:
        target.mkdir(parents=True)
        shutil.copy(source, target)
