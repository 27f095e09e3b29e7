"""Look for known vulnerabilities in all that is locked: 0 none, 1 some, 2 it could not be told.

Where the feed is not reached, as on a machine without a network, that is said, and it is 0.
"""

import argparse
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

import httpx

from licences import ALLOWED
from runtime import LOCK

PUBLIC_FEED: Final = "https://api.osv.dev/v1/query"
ASKING_SECONDS_MAX: Final = 10
AUDIT_SECONDS_MAX: Final = 600
SHOWN_CHARACTERS_MAX: Final = 200


def out_of_reach(feed: str) -> str | None:
    """Why the feed gives no answers, if so: pip-audit itself takes a 404 for 'nothing known' and else falls over."""
    question = {"package": {"name": "pip", "ecosystem": "PyPI"}, "version": "1"}
    try:
        answer = httpx.post(feed, json=question, timeout=ASKING_SECONDS_MAX)
        answer.raise_for_status()
        answer.json()
    except (httpx.HTTPError, ValueError) as fault:
        return str(fault).splitlines()[0]
    return None


def audit(lock: Path, feed: str) -> list[dict[str, Any]]:
    """What pip-audit says of each package."""
    accepted = tomllib.loads(ALLOWED.read_text())["vulnerabilities"]
    done = subprocess.run(
        [
            Path(sys.executable).with_name("pip-audit"),
            *("--requirement", lock, "--disable-pip", "--require-hashes"),
            *("--vulnerability-service", "osv", "--osv-url", feed, "--timeout", str(ASKING_SECONDS_MAX)),
            *("--format", "json", "--progress-spinner", "off"),
            *(f"--ignore-vuln={each}" for each in accepted),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=AUDIT_SECONDS_MAX,
    )
    if not done.stdout:
        raise RuntimeError((done.stderr.strip() or "pip-audit says nothing").splitlines()[-1])
    found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    return found


def main() -> int:
    """Say what was found."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--lock", type=Path, default=LOCK)
    options.add_argument("--feed", default=PUBLIC_FEED, help="where an OSV API answers")
    given = options.parse_args()
    why = out_of_reach(given.feed)
    if why is not None:
        print(f"audit: SKIPPED, nothing was looked at: the feed {given.feed} cannot be reached: {why}", file=sys.stderr)
        return 0
    try:
        packages = audit(given.lock, given.feed)
    except (RuntimeError, ValueError, subprocess.TimeoutExpired) as fault:
        print(f"audit: broken off: {fault}", file=sys.stderr)
        return 2
    for package in packages:
        for each in package.get("vulns", []):
            mended = ", ".join(each["fix_versions"]) or "no version yet"
            print(
                f"{package['name']} {package['version']}: {each['id']}, mended in {mended}: {each['description'][:200]}"
            )
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    vulnerable = [package["name"] for package in packages if package.get("vulns")]
    print(f"audit: {len(packages)} packages, {len(vulnerable)} vulnerable, {len(unknown)} not looked at")
    if unknown:
        print(f"audit: not looked at: {', '.join(unknown)}", file=sys.stderr)
    return 1 if vulnerable else 2 if unknown or not packages else 0


if __name__ == "__main__":
    sys.exit(main())
