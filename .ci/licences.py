"""The licences of what the service installs at run time, held against those that allowed.toml has a reason for."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

from packaging.utils import NormalizedName, canonicalize_name

from runtime import runtime

ALLOWED: Final = Path(__file__).parent / "allowed.toml"


def licences() -> dict[NormalizedName, str]:
    """Each package's licence, as an expression of SPDX where its words are known."""
    spelled = tomllib.loads(ALLOWED.read_text())["spelled"]
    names = [pin.name for pin in runtime()]
    told = subprocess.run(
        [Path(sys.executable).with_name("pip-licenses"), "--format=json", "--from=mixed", "--packages", *names],
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    return {canonicalize_name(each["Name"]): _expression(each["License"], spelled) for each in json.loads(told.stdout)}


def not_allowed(licence: str, allowed: dict[str, str]) -> bool:
    """Whether no choice that the expression leaves is one of licences that are all allowed."""
    return not any(all(each in allowed for each in choice.split(" AND ")) for choice in licence.split(" OR "))


def _expression(licence: str, spelled: dict[str, str]) -> str:
    # Classifiers come parted by semicolons, and do not say whether one may choose: so all of them count.
    return " AND ".join(spelled.get(part, part) for part in licence.split("; "))


def main() -> int:
    """Print the table; 1 if a licence is not allowed."""
    allowed = tomllib.loads(ALLOWED.read_text())["licences"]
    found = licences()
    versions = {pin.name: pin.version for pin in runtime()}
    refused = sorted(name for name in versions if not_allowed(found.get(name, "unknown"), allowed))
    for name, version in versions.items():
        print(f"{name:42}{version:14}{found.get(name, 'unknown')}")
    for name in refused:
        print(f"not allowed: {name} is under {found.get(name, 'unknown')}; see .ci/allowed.toml", file=sys.stderr)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
