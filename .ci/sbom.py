"""What the service installs at run time as CycloneDX JSON: versions, hashes, licences, and what needs what.

cyclonedx-py knows the packages and hashes of a lock; which of them need each other, and their licences, the installed
packages say. The same lock gives the same bytes.
"""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from licences import licences
from runtime import OURS, ROOT, graph, runtime

SERVICE: Final = "credit-service"


def bill() -> dict[str, Any]:
    """The whole document."""
    needed = graph(SERVICE)
    found: dict[str, Any] = json.loads(_locked())
    found["metadata"]["component"]["bom-ref"] = SERVICE
    found["components"] += [
        {"type": "library", "name": name, "version": version(name), "licenses": [{"license": {"id": "Apache-2.0"}}]}
        for name in sorted(OURS & needed.keys() - {SERVICE})
    ]
    known = licences()
    for component in found["components"]:
        name = component["bom-ref"] = component["name"]
        component.pop("description", None)  # it has the line of the lock once more
        if name in known:
            component["licenses"] = [{"expression": known[name]}]
    found["dependencies"] = [{"ref": name, "dependsOn": sorted(needed[name])} for name in sorted(needed)]
    return found


def _locked() -> bytes:
    command = (
        "requirements",
        "--pyproject",
        ROOT / "service" / "pyproject.toml",
        "--output-reproducible",
        "--no-validate",
    )
    done = subprocess.run(
        [Path(sys.executable).with_name("cyclonedx-py"), *command, "-"],
        input="".join(pin.lines for pin in runtime()).encode(),
        capture_output=True,
        check=False,
        timeout=60,
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr.decode())
    return done.stdout


def main() -> int:
    """Write it to the file that is named, if it is valid by its schema."""
    text = json.dumps(bill(), indent=2) + "\n"
    wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if wrong is not None:
        print(f"not valid CycloneDX: {wrong.data}", file=sys.stderr)
        return 1
    Path(sys.argv[1]).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
