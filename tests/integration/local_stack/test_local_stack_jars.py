from __future__ import annotations

import hashlib
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from jgo.env import LockedDependency, LockFile

from credit_local_stack import StackError
from credit_local_stack.jars import kafka_jars

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTENT = b"what was locked"


class Mirror:
    """A Maven repository with one jar, and the user's cache folder and jgo.conf that go with it."""

    def __init__(self, folder: Path) -> None:
        self.asked_for: list[str] = []
        self.repository = folder / "repository"
        self.jar = self.repository / "org" / "example" / "thing" / "1.0" / "thing-1.0.jar"
        self.jar.parent.mkdir(parents=True)
        self.jar.write_bytes(CONTENT)
        self.cached = folder / "cache" / "credit-local-stack" / "jars" / "thing-1.0.jar"
        self.lock = folder / "lock.toml"
        digest = hashlib.sha256(CONTENT).hexdigest()
        LockFile([LockedDependency("org.example", "thing", "1.0", sha256=digest)]).save(self.lock)

    def jars(self) -> list[Path]:
        return kafka_jars(lambda _: None, self.lock)


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    mirror = Mirror(tmp_path)

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(mirror.repository))

        def log_message(self, *_: object) -> None:
            mirror.asked_for.append(self.path.rpartition("/")[2])

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        config = tmp_path / "jgo.conf"
        config.write_text(f"[repositories]\ncentral = http://127.0.0.1:{server.server_port}\n")
        monkeypatch.setenv("JGO_CONFIG_FILE", str(config))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield mirror
        server.shutdown()
        thread.join()


def test_a_jar_is_fetched_once(mirror: Mirror) -> None:
    assert [mirror.cached] == mirror.jars()
    mirror.jar.unlink()

    assert [mirror.cached] == mirror.jars()
    assert mirror.cached.read_bytes() == CONTENT


def test_a_jar_that_was_spoiled_in_the_cache_is_fetched_again(mirror: Mirror) -> None:
    mirror.jars()
    mirror.cached.write_bytes(CONTENT[:-1])

    mirror.jars()

    assert mirror.cached.read_bytes() == CONTENT


def test_a_jar_that_is_not_the_locked_one_is_refused(mirror: Mirror) -> None:
    mirror.jar.write_bytes(b"something else")

    with pytest.raises(StackError, match=r"cannot fetch thing-1\.0\.jar: .*SHA-256"):
        mirror.jars()

    assert not mirror.cached.exists()
    assert [left.name for left in mirror.cached.parent.iterdir()] == [".lock"]


def test_a_jar_that_is_nowhere_is_told(mirror: Mirror) -> None:
    mirror.jar.unlink()

    with pytest.raises(StackError, match=r"cannot fetch thing-1\.0\.jar: .*not found"):
        mirror.jars()


def test_of_starts_at_once_one_fetches_and_all_get_whole_jars(mirror: Mirror) -> None:
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(mirror.jars()[0].read_bytes())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [CONTENT] * 4
    assert mirror.asked_for.count("thing-1.0.jar") == 1
