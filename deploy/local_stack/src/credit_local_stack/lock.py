"""Renew jgo.lock.toml: `python -m credit_local_stack.lock`."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from jgo.env import LockedDependency, LockFile

from credit_local_stack.jars import LOCK, maven

KAFKA = "org.apache.kafka:kafka_2.13"
_SERIES = re.compile(r"4\.1\.(\d+)")


def renew(lock: Path = LOCK) -> str:
    """Write the lock anew for the latest release of the series, and return its version."""
    with tempfile.TemporaryDirectory(prefix="credit-local-stack-") as scratch:
        context = maven(Path(scratch))
        group, artifact = KAFKA.split(":")
        project = context.project(group, artifact)
        project.update()
        releases = [found for version in project.metadata.versions if (found := _SERIES.fullmatch(version))]
        version = max(releases, key=lambda release: int(release[1]))[0]
        roots, others = context.resolver.resolve([context.create_dependency(f"{KAFKA}:{version}")])
        jars = [*roots, *(jar for jar in others if jar.scope in ("compile", "runtime"))]
        # Kafka's POM leaves out what carries its log lines from slf4j to log4j: without it a broker is mute.
        log4j = next(jar.version for jar in jars if jar.artifactId == "log4j-core")
        jars.append(context.create_dependency(f"org.apache.logging.log4j:log4j-slf4j-impl:{log4j}"))
        jars.sort(key=lambda jar: (jar.groupId, jar.artifactId))
        LockFile([LockedDependency.from_dependency(jar) for jar in jars], environment_name="kafka").save(lock)
    return version


if __name__ == "__main__":
    sys.stderr.write(f"{LOCK}: Kafka {renew()}\n")
