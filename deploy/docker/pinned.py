"""Takes out of requirements.lock what is asked for, with its version and its hashes; needs nothing but Python.

    python pinned.py requirements.lock NAME-OR-PYPROJECT...

A name is that of a package; a pyproject.toml stands for what it depends on, but for the workspace's own packages. What
those need in turn is left to the installer, which gets the lock as constraints: one lock says it all.
"""

import re
import sys
import tomllib
from pathlib import Path

OURS = ("credit-contracts", "credit-service", "credit-local-stack")
REQUIREMENT = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(?P<extras>\[[^]]*\])?[^;]*(?P<marker>;.*)?$")
PIN = re.compile(
    r"^(?P<name>[a-z0-9-]+)==(?P<version>\S+)[^\n]*\n(?P<hashes>(?:    --hash=\S+(?: \\)?\n)+)", re.MULTILINE
)


def main(lock: str, *wanted: str) -> str:
    """The lines for what is wanted, in the form of a requirements file; raises `SystemExit` if the lock lacks one."""
    pins = {found["name"]: found for found in PIN.finditer(Path(lock).read_text("utf-8"))}
    lines = {}
    for requirement in (each for one in wanted for each in _requirements(one)):
        parts = REQUIREMENT.match(requirement)
        name = re.sub(r"[-_.]+", "-", parts["name"]).lower() if parts else requirement
        if parts is None or name not in pins:
            raise SystemExit(f"{requirement}: not in {lock}")
        pin = f"{name}{parts['extras'] or ''}=={pins[name]['version']} {parts['marker'] or ''}".rstrip()
        lines[name] = f"{pin} \\\n{pins[name]['hashes']}"
    return "".join(line for _, line in sorted(lines.items()))


def _requirements(wanted: str) -> list[str]:
    if not wanted.endswith(".toml"):
        return [wanted]
    dependencies = tomllib.loads(Path(wanted).read_text("utf-8"))["project"]["dependencies"]
    return [one for one in dependencies if one not in OURS]


if __name__ == "__main__":
    sys.stdout.write(main(*sys.argv[1:]))
