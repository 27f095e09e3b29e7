"""Every test is run by a target that `.ci/run` calls, but for those of `make chaos`."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
OPTIONS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["addopts"]
MAKEFILE = (ROOT / "Makefile").read_text()
BY_HAND = {"chaos"}


def test_what_make_test_leaves_out_has_a_target_that_ci_calls() -> None:
    (left_out,) = [option for option in OPTIONS if option.startswith("not ")]
    marks = set(re.findall(r"\w+", left_out)) - {"not", "or"}
    targets = dict(re.findall(r"^([a-z-]+): \$\(READY\).*\n\t.*-m (\w+)$", MAKEFILE, re.MULTILINE))
    called = re.findall(r"^make ([a-z-]+)", (ROOT / ".ci/run").read_text(), re.MULTILINE)

    assert set(targets.values()) == marks
    assert {mark for target, mark in targets.items() if target in called} == marks - BY_HAND


def test_a_target_reaches_every_test_of_its_mark() -> None:
    runs = re.findall(r"^[a-z-]+: \$\(READY\).*\n\t(.* -m (\w+))$", MAKEFILE, re.MULTILINE)
    tests = {path: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}

    assert runs
    for run, mark in runs:
        places = [ROOT / name for name in re.findall(r"tests/[\w/.]+", run)] or [ROOT / "tests"]
        marked = [path for path, text in tests.items() if re.search(rf"pytest\.mark\.{mark}\b", text)]
        assert marked
        assert [path for path in marked if not any(path.is_relative_to(place) for place in places)] == []


def test_ci_takes_all_examples_of_the_property_tests() -> None:
    called = re.findall(r"^make ([a-z-]+)", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    (run,) = re.findall(r"^properties:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    tests = (ROOT / "tests").rglob("test_*.py")
    using = [path for path in tests if re.search(r"^from support\.examples ", path.read_text(), re.MULTILINE)]

    assert "properties" in called
    assert "CREDITS_TEST_EXAMPLES=$(EXAMPLES)" in run
    assert "EXAMPLES ?= 1\n" in MAKEFILE
    named = [ROOT / name for name in re.findall(r"tests/[\w/.]+", run)]
    assert using
    assert [path for path in using if not any(path.is_relative_to(place) for place in named)] == []
