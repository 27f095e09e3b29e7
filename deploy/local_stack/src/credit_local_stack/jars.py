"""Kafka's jars: exactly those of jgo.lock.toml, in a cache that no interruption can spoil."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import requests
from jgo.config import GlobalSettings
from jgo.constants import MAVEN_CENTRAL_URL
from jgo.env import LockFile
from jgo.maven import MavenContext

from credit_local_stack.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jgo.env import LockedDependency

LOCK = Path(__file__).with_name("jgo.lock.toml")
_DOWNLOADS_AT_ONCE = 8
_DOWNLOAD_ATTEMPTS_MAX = 3
_DOWNLOAD_SECONDS_MAX = 60


def kafka_jars(say: Callable[[str], None], lock: Path = LOCK) -> list[Path]:
    """Return the paths of Kafka's jars, each checked against the lock, after fetching what is missing."""
    locked = LockFile.load(lock).dependencies
    folder = cache_folder() / "jars"
    folder.mkdir(parents=True, exist_ok=True)
    with _held(folder / ".lock"):
        missing = [jar for jar in locked if not _is_whole(folder / _file_name(jar), jar)]
        if missing:
            say(f"Fetching {len(missing)} of Kafka's {len(locked)} jars into {folder}")
            _fetch(missing, folder)
    return [folder / _file_name(jar) for jar in locked]


def cache_folder() -> Path:
    """Return the folder below the user's cache folder that everything downloaded is kept in."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "credit-local-stack"


def maven(repo_cache: Path) -> MavenContext:
    """Return jgo's access to Maven repositories; a jgo.conf may name a mirror as `central`."""
    repositories = {"central": MAVEN_CENTRAL_URL, **GlobalSettings.load().repositories}
    return MavenContext(repo_cache=repo_cache, remote_repos=repositories, timeout=_DOWNLOAD_SECONDS_MAX)


def _fetch(missing: list[LockedDependency], folder: Path) -> None:
    # Downloads happen in a folder of their own on the same file system: a jar appears in the cache by a
    # rename, whole and verified, or not at all.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as scratch:
        context = maven(Path(scratch))
        pool = ThreadPoolExecutor(_DOWNLOADS_AT_ONCE)
        try:
            for jar, path in zip(missing, pool.map(lambda jar: _download(context, jar), missing), strict=True):
                path.replace(folder / _file_name(jar))
        finally:
            pool.shutdown(cancel_futures=True)


def _download(context: MavenContext, jar: LockedDependency) -> Path:
    component = context.project(jar.groupId, jar.artifactId).at_version(jar.version)
    artifact = component.artifact(jar.classifier or "", jar.packaging)
    reason = ""
    for _ in range(_DOWNLOAD_ATTEMPTS_MAX):
        try:
            path = artifact.resolve()
        except (OSError, RuntimeError, requests.RequestException) as error:
            reason = str(error)
        else:
            if _is_whole(path, jar):
                return path
            reason = "what arrived does not have the SHA-256 that the lock has"
        if artifact.cached_path is not None:
            artifact.cached_path.unlink(missing_ok=True)
    raise StackError(f"cannot fetch {_file_name(jar)}: {reason}")


def _file_name(jar: LockedDependency) -> str:
    classifier = f"-{jar.classifier}" if jar.classifier else ""
    return f"{jar.artifactId}-{jar.version}{classifier}.{jar.packaging}"


def _is_whole(path: Path, jar: LockedDependency) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == jar.sha256
    except FileNotFoundError:
        return False


@contextmanager
def _held(lock: Path) -> Iterator[None]:
    """Let one process at a time fetch; the kernel frees the lock when its holder dies."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
