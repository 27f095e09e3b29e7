"""What the service installs at run time as CycloneDX JSON: versions, hashes, licences, and what needs what.

cyclonedx-py knows the packages and hashes of a lock; which of them need each other, and their licences, the installed
packages say. What lies in our own package and is another's, its README says. The same lock gives the same bytes.
"""

import hashlib
import json
import re
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
PAGE: Final = ROOT / "service" / "src" / "credit_service" / "http" / "asyncapi_page"


def bill() -> dict[str, Any]:
    """The whole document."""
    needed: dict[str, set[str]] = {name: {*its} for name, its in graph(SERVICE).items()}
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
    page = _page()
    found["components"].append(page)
    needed[SERVICE].add(page["bom-ref"])
    needed[page["bom-ref"]] = set()
    found["dependencies"] = [{"ref": name, "dependsOn": sorted(needed[name])} for name in sorted(needed)]
    return found


def _page() -> dict[str, Any]:
    """The component behind the page of the topics, file by file; fails if its README no longer says which it is."""
    read = re.search(r"`asyncapi\.min\.js` \| `@([\w-]+)/([\w-]+)` ([\d.]+),", (PAGE / "README.md").read_text())
    if read is None:
        raise RuntimeError("the README beside the page does not say what asyncapi.min.js is")
    group, name, its_version = read.groups()
    return {
        "type": "library",
        "bom-ref": f"@{group}/{name}",
        "group": f"@{group}",
        "name": name,
        "version": its_version,
        "purl": f"pkg:npm/%40{group}/{name}@{its_version}",
        "licenses": [{"license": {"id": "Apache-2.0"}}],
        "components": [
            {
                "type": "file",
                "name": file.name,
                "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(file.read_bytes()).hexdigest()}],
            }
            for file in sorted(PAGE.glob("asyncapi.min.*s"))
        ],
    }


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
