"""The demo as a user runs it, and that it can fail."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.patience import patience
from support.topics import remove_topics, topics_of
from support.wait import eventually

pytestmark = pytest.mark.slow

SECONDS_MAX = 110
DEMO = ["-m", "credit_service.cli.demo"]
# Each charge is expected to cost two credits, which it does not.
BROKEN_EXPECTATION = """
import sys
from credit_service.cli.demo import __main__ as demo, story
story.CHARGE = ("charge", -2)
sys.exit(demo.main())
"""

# Waits in the midst of the day: told to end, it has not ended by itself.
HELD = """
import asyncio, sys
from credit_service.cli.demo import __main__ as demo, play
answered, seen = play.Player._answered, []
async def held(player, step):
    if any("prospects generated" in what for what in seen):
        await asyncio.sleep(600)
    seen.append(step.what)
    await answered(player, step)
play.Player._answered = held
play.ANSWERED_SECONDS_MAX = 600
sys.exit(demo.main())
"""


@pytest.fixture
def environment(database_url: str, kafka: str, topic_prefix: str, tmp_path: Path) -> Iterator[dict[str, str]]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CREDITS_")}
    yield kept | {
        "CREDITS_DATABASE_URL": database_url,
        "CREDITS_KAFKA_BOOTSTRAP_SERVERS": kafka,
        "CREDITS_KAFKA_GROUP_ID": f"{topic_prefix}demo",
        "CREDITS_TOPIC_PREFIX": topic_prefix,
        "TERM": "dumb",
        "TMPDIR": str(tmp_path),
    }

    async def tidy() -> None:
        await remove_topics(kafka, await topics_of(kafka, topic_prefix))

    asyncio.run(tidy())


def run(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        cwd=tempfile.gettempdir(),
        capture_output=True,
        text=True,
        timeout=patience(SECONDS_MAX),
        check=False,
    )


def test_the_demo_is_well_twice_on_the_same_servers(environment: dict[str, str], tmp_path: Path) -> None:
    for _ in range(2):
        demo = run(DEMO, environment)

        assert (demo.returncode, demo.stderr) == (0, ""), demo.stdout
        assert "All is well" in demo.stdout
        assert demo.stdout.count("\nok  ") == 5
        assert re.search(r"^Halyard +60 +41 +0 +19 +6$", demo.stdout, re.MULTILINE)
        assert re.search(r"^Quillfeather +75 +50 +0 +25 +2$", demo.stdout, re.MULTILINE)
        assert re.search(r"^Osprey +0 +65 +0 +no limit +0$", demo.stdout, re.MULTILINE)
        assert re.search(r"^Tamarisk +40 +32 +5 +13 +0$", demo.stdout, re.MULTILINE)
        assert demo.stdout.isascii()
        assert "\x1b" not in demo.stdout
        assert max(map(len, demo.stdout.splitlines())) <= 80
        assert list(tmp_path.iterdir()) == []


def test_an_expectation_that_is_not_met_is_told_and_fails(environment: dict[str, str]) -> None:
    demo = run(["-c", BROKEN_EXPECTATION], environment)

    assert demo.returncode == 1
    assert re.search(
        r"^wrong: Halyard: prospect-generated \S+ \(pro_0000\) changed the balance by -1 \(charge\), "
        r"expected -2 \(charge\)$",
        demo.stdout,
        re.MULTILINE,
    )
    assert "All is well" not in demo.stdout


def test_a_service_that_dies_is_told_with_its_log(environment: dict[str, str]) -> None:
    demo = run(DEMO, environment | {"CREDITS_KILL_AT": "after-commit:6"})

    assert demo.returncode == 1
    assert "\nwrong: the service ended by itself with exit code -9\n" in demo.stdout
    log = re.search(r"^All of it: (.*)$", demo.stdout, re.MULTILINE)
    assert log is not None
    assert "serving" in Path(log[1]).read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_nothing_running(environment: dict[str, str], number: signal.Signals, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HELD], env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "prospects generated" in line:
                break
        # A terminal tells the whole group, a supervisor the demo alone.
        (os.killpg if number == signal.SIGINT else os.kill)(demo.pid, number)
        said = demo.stdout.read()

        assert demo.wait(patience(60)) == 130, said
    assert said.endswith("interrupted\n")
    asyncio.run(eventually(lambda: not group_exists(demo.pid), within_seconds=30, what="its processes to be gone"))
    assert list(tmp_path.iterdir()) == []


def test_servers_elsewhere_are_left_alone(environment: dict[str, str]) -> None:
    demo = run(DEMO, environment | {"CREDITS_DATABASE_URL": "postgresql://credits@db.example.com/credits"})

    assert demo.returncode == 2
    assert demo.stderr.count("\n") == 1
    assert "not on this machine" in demo.stderr


def group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
