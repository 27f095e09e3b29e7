"""A change that breaks somebody who keeps to a published version is found, and it is said whom it breaks."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import credit_contracts
from credit_contracts.schemas import schema
from credit_contracts.schemas.check import breaks, breaks_of
from credit_contracts.schemas.compatibility import breaks_for_consumers, breaks_for_producers
from support.examples import examples
from support.patience import patience

WRITERS, READERS = "old writers", "old readers"
IN, OUT = "plan-changed", "balance-changed"


def changed(topic: str, path: str, **changes: Any) -> dict[str, Any]:
    """The newest schema of a topic with keywords changed at `path`; None takes a keyword away."""
    whole = deepcopy(schema(topic))
    place = whole
    for step in filter(None, path.split("/")):
        place = place[int(step)] if isinstance(place, list) else place[step]
    place.update(changes)
    for keyword in [keyword for keyword, value in changes.items() if value is None]:
        del place[keyword]
    return whole


def without_field(topic: str, name: str) -> dict[str, Any]:
    whole = deepcopy(schema(topic))
    del whole["properties"][name]
    whole["required"] = [field for field in whole["required"] if field != name]
    return whole


def with_field(topic: str, name: str, field: dict[str, Any], *, required: bool) -> dict[str, Any]:
    whole = deepcopy(schema(topic))
    whole["properties"][name] = field
    whole["required"] += [name] * required
    return whole


def renamed(topic: str, old: str, new: str) -> dict[str, Any]:
    field = schema(topic)["properties"][old]
    return with_field_in(without_field(topic, old), new, field)


def with_field_in(whole: dict[str, Any], name: str, field: dict[str, Any]) -> dict[str, Any]:
    whole["properties"][name] = field
    whole["required"].append(name)
    return whole


def required_in(topic: str, *fields: str) -> dict[str, Any]:
    return changed(topic, "", required=[*schema(topic)["required"], *fields])


NULLABLE_STRING = {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}
REASONS = schema(OUT)["properties"]["reason"]["enum"]
BOUNCES = "email-bounced"

# Who is broken by what; in the field that the message has to name.
BREAKING: dict[str, tuple[str, dict[str, Any], set[str], str]] = {
    "in: field removed": (IN, without_field(IN, "seats"), {WRITERS}, "seats"),
    "in: needed field removed": (IN, without_field(IN, "plan_id"), {WRITERS}, "plan_id"),
    "in: field renamed": (IN, renamed(IN, "plan_id", "plan"), {WRITERS}, "plan"),
    "in: new needed field": (IN, with_field(IN, "region", {"type": "string"}, required=True), {WRITERS}, "region"),
    "in: optional made required": (IN, changed(IN, "", required=["account_id", "seats"]), {WRITERS}, "seats"),
    "in: null taken away": (IN, changed(IN, "properties/seats", anyOf=[{"type": "integer"}]), {WRITERS}, "seats"),
    "in: upper bound narrowed": (IN, changed(IN, "properties/seats/anyOf/0", maximum=99), {WRITERS}, "seats"),
    "in: lower bound narrowed": (IN, changed(IN, "properties/seats/anyOf/0", minimum=1), {WRITERS}, "seats"),
    "in: longer ids refused": (IN, changed(IN, "properties/plan_id", maxLength=64), {WRITERS}, "plan_id"),
    "in: pattern changed": (IN, changed(IN, "properties/plan_id", pattern="^[a-z]*$"), {WRITERS}, "plan_id"),
    "in: form asked for": (IN, changed(IN, "properties/time_zone/anyOf/0", format="uri"), {WRITERS}, "time_zone"),
    "in: type changed": (
        IN,
        changed(IN, "properties/plan_id", type="integer", minLength=None, maxLength=None, pattern=None),
        {WRITERS},
        "plan_id",
    ),
    "in: value not read any more": (
        BOUNCES,
        changed(BOUNCES, "properties/bounce_type/anyOf/0", enum=["hard"]),
        {WRITERS},
        "bounce_type",
    ),
    "in: left out means something else": (
        BOUNCES,
        changed(BOUNCES, "properties/bounce_type", default="soft"),
        {WRITERS},
        "bounce_type",
    ),
    "in: unknown fields refused": (IN, changed(IN, "", additionalProperties=False), {WRITERS}, "data"),
    "in: a keyword that nobody can judge": (
        IN,
        changed(IN, "properties/plan_id", contentEncoding="base64"),
        {WRITERS},
        "plan_id",
    ),
    "out: field removed": (OUT, without_field(OUT, "delta"), {READERS}, "delta"),
    "out: field with a default removed": (OUT, without_field(OUT, "prospect_id"), {READERS}, "prospect_id"),
    "out: field renamed": (OUT, renamed(OUT, "delta", "change"), {READERS, WRITERS}, "delta"),
    "out: field no longer always there": (
        OUT,
        changed(OUT, "", required=[name for name in schema(OUT)["required"] if name != "delta"]),
        {READERS},
        "delta",
    ),
    "out: new needed field": (OUT, with_field(OUT, "region", {"type": "string"}, required=True), {WRITERS}, "region"),
    "out: new value": (OUT, changed(OUT, "properties/reason", enum=[*REASONS, "gift"]), {READERS}, '"gift"'),
    "out: value gone that may still lie there": (
        OUT,
        changed(OUT, "properties/reason", enum=REASONS[1:]),
        {WRITERS},
        '"charge"',
    ),
    "out: any value": (OUT, changed(OUT, "properties/reason", enum=None), {READERS}, "reason"),
    "out: null comes": (
        OUT,
        changed(OUT, "properties/delta", type=None, **NULLABLE_STRING),
        {READERS, WRITERS},
        "delta",
    ),
    "out: bound widened": (OUT, changed(OUT, "properties/sequence", minimum=0), {READERS}, "sequence"),
    "out: bound gone": (OUT, changed(OUT, "properties/sequence", minimum=None), {READERS}, "sequence"),
    "out: bound narrowed, and wider ones lie there": (
        OUT,
        changed(OUT, "properties/sequence", minimum=2),
        {WRITERS},
        "sequence",
    ),
    "out: longer ids": (OUT, changed(OUT, "properties/account_id", maxLength=200), {READERS}, "account_id"),
    "out: within a cause": (OUT, changed(OUT, "$defs/Cause", required=["source", "id"]), {READERS}, "cause.type"),
    "out: type changed": (OUT, changed(OUT, "properties/delta", type="string"), {READERS, WRITERS}, "delta"),
    "out: fractions": (OUT, changed(OUT, "properties/delta", type="number"), {READERS}, "delta"),
    "out: another form": (
        OUT,
        changed(OUT, "properties/recorded_at", format="date"),
        {READERS, WRITERS},
        "recorded_at",
    ),
}

HARMLESS: dict[str, tuple[str, dict[str, Any]]] = {
    "in: the same": (IN, schema(IN)),
    "in: new optional field": (IN, with_field(IN, "region", NULLABLE_STRING, required=False)),
    "in: required made optional": (
        IN,
        changed(IN, "", required=[name for name in schema(IN)["required"] if name != "plan_id"]),
    ),
    "in: bounds widened": (IN, changed(IN, "properties/seats/anyOf/0", minimum=-1, maximum=10**12)),
    "in: bound gone": (IN, changed(IN, "properties/seats/anyOf/0", maximum=None)),
    "in: new value": (BOUNCES, changed(BOUNCES, "properties/bounce_type/anyOf/0", enum=["hard", "soft", "block"])),
    "in: any value": (BOUNCES, changed(BOUNCES, "properties/bounce_type/anyOf/0", enum=None, minLength=1)),
    "in: null taken": (IN, changed(IN, "properties/plan_id", anyOf=[{"type": "string"}, {"type": "null"}], type=None)),
    "in: fractions taken": (IN, changed(IN, "properties/seats/anyOf/0", type="number")),
    "out: the same": (OUT, schema(OUT)),
    "out: new field that old messages lack": (OUT, with_field(OUT, "region", NULLABLE_STRING, required=True)),
    "out: other words": (OUT, changed(OUT, "properties/delta", description="What changed.", title="Change")),
    "out: other examples": (OUT, changed(OUT, "", examples=[])),
}


@pytest.mark.parametrize(("topic", "new", "sides", "field"), BREAKING.values(), ids=BREAKING)
def test_change_that_breaks_somebody_is_told_of_that_side(
    topic: str, new: dict[str, Any], sides: set[str], field: str
) -> None:
    found = breaks_of(topic, schema(topic), new)
    assert {one.side for one in found} == sides, list(map(str, found))
    assert any(field in one.problem for one in found)


@pytest.mark.parametrize(("topic", "new"), HARMLESS.values(), ids=HARMLESS)
def test_change_that_breaks_nobody_passes(topic: str, new: dict[str, Any]) -> None:
    assert breaks_of(topic, schema(topic), new) == []


def test_topic_that_goes_breaks_both_sides() -> None:
    assert {one.side for one in breaks_of(OUT, schema(OUT), None)} == {WRITERS, READERS}


def test_what_there_is_breaks_nobody() -> None:
    assert list(breaks()) == []


def test_a_break_is_one_line_that_says_whom_where_and_what() -> None:
    (found,) = breaks_of(IN, schema(IN), changed(IN, "properties/seats/anyOf/0", maximum=99))
    assert str(found) == "breaks old writers: seats: maximum 1000000000 is kept to, 99 is needed"


@pytest.fixture
def edit(tmp_path: Path) -> Callable[[str, str], Path]:
    """A copy of the package in which a model is edited."""
    copy = tmp_path / "credit_contracts"
    shutil.copytree(Path(credit_contracts.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))

    def edited(old: str, new: str) -> Path:
        model = copy / "incoming.py"
        text = model.read_text("utf-8")
        assert old in text
        model.write_text(text.replace(old, new), "utf-8")
        return tmp_path

    return edited


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "credit_contracts.schemas", *arguments]
    env = os.environ | {"PYTHONPATH": str(folder)}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=patience(60), check=False)


OPTIONAL_SEATS = 'seats: Annotated[Amount | None, Field(description="Unchanged when absent.")] = None'


def test_model_that_breaks_somebody_fails_in_ci_and_makes_no_version(edit: Callable[[str, str], Path]) -> None:
    folder = edit(OPTIONAL_SEATS, OPTIONAL_SEATS.removesuffix(" = None"))
    for arguments in (["check"], []):
        done = run(folder, *arguments)
        assert done.returncode == 1
        assert "plan-changed v1: breaks old writers: seats: may be absent, and is needed\n" in done.stderr
    assert not (folder / "credit_contracts/schemas/plan-changed.v2.json").exists()


def test_model_that_has_grown_makes_a_version_beside_those_published(edit: Callable[[str, str], Path]) -> None:
    folder = edit(OPTIONAL_SEATS, f"{OPTIONAL_SEATS}\n    region: str | None = None")
    assert run(folder, "check").stderr == (
        "plan-changed: the newest version is not what the model says; run python -m credit_contracts.schemas\n"
    )
    assert run(folder).returncode == 0
    schemas = folder / "credit_contracts/schemas"
    assert json.loads((schemas / "plan-changed.v1.json").read_text("utf-8")) == schema("plan-changed", 1)
    made = json.loads((schemas / "plan-changed.v2.json").read_text("utf-8"))
    assert (made["$id"], "region" in made["properties"]) == ("urn:credit-service:plan-changed:v2", True)
    assert len(list(schemas.glob("*.v2.json"))) == 1
    assert run(folder, "check").returncode == 0


UNJUDGED = """labels: dict[str, str] | None = None
    tags: set[str] | None = None
    step: Annotated[int, Field(multiple_of=5)] = 5
    paid: Annotated[Paid | Billed, Field(discriminator="how")] | None = None"""
KINDS = """class Paid(BaseModel):
    how: Literal["paid"]


class Billed(BaseModel):
    how: Literal["billed"]


"""


def test_keyword_that_nobody_can_judge_is_not_published(edit: Callable[[str, str], Path]) -> None:
    """Once there it would be held against itself, and could neither stay nor go."""
    edit("class PlanChanged", f"{KINDS}class PlanChanged")
    folder = edit(OPTIONAL_SEATS, f"{OPTIONAL_SEATS}\n    {UNJUDGED}")
    done = run(folder)
    assert (done.returncode, done.stderr.splitlines()) == (
        1,
        [
            "plan-changed: labels: additionalProperties cannot be judged",
            "plan-changed: tags: uniqueItems cannot be judged",
            "plan-changed: step: multipleOf cannot be judged",
            "plan-changed: paid: discriminator, oneOf cannot be judged",
        ],
    )
    assert not (folder / "credit_contracts/schemas/plan-changed.v2.json").exists()


def test_command_of_ci_is_content_with_what_is_committed() -> None:
    done = run(Path(credit_contracts.__file__).parents[1], "check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# Small schemas with the keywords that models have, and every value that lies near their bounds.
VALUES = [None, True, -1, 0, 1, 2, 3, 0.5, 2.5, "", "a", "b", "ab", "aaa", "bbbb"]

_nulls = st.fixed_dictionaries({"type": st.sampled_from(["null", "boolean"])})
_numbers = st.fixed_dictionaries(
    {"type": st.sampled_from(["integer", "number"])},
    optional={"minimum": st.integers(0, 2), "maximum": st.integers(1, 3), "exclusiveMinimum": st.integers(0, 1)},
)
_strings = st.fixed_dictionaries(
    {"type": st.just("string")},
    optional={
        "minLength": st.integers(0, 2),
        "maxLength": st.integers(1, 3),
        "pattern": st.sampled_from(["^a*$", "^b"]),
    },
)
_choices = st.fixed_dictionaries(
    {"type": st.just("string"), "enum": st.lists(st.sampled_from(["", "a", "ab", "b"]), min_size=1, unique=True)}
)
_constants = st.fixed_dictionaries({"type": st.just("string"), "const": st.sampled_from(["a", "b"])})
_words = _strings | _choices | _constants
_scalars = st.one_of(_nulls, _numbers, _words)
_unions = st.builds(lambda one, other: {"anyOf": [one, other]}, _scalars, _scalars | _nulls)
# Two of a kind, mostly: others are seldom read by each other.
_pairs = st.one_of([st.tuples(of, of) for of in (_numbers, _words, _unions, _scalars | _unions)])


def of_one_field(field: dict[str, Any], *, required: bool, within: bool) -> dict[str, Any]:
    inner = {"type": "object", "properties": {"x": field}, "required": ["x"] * required}
    if not within:
        return inner
    return {"type": "object", "properties": {"d": {"$ref": "#/$defs/D"}}, "required": ["d"], "$defs": {"D": inner}}


@settings(max_examples=examples(300))
@given(fields=_pairs, required=st.tuples(st.booleans(), st.booleans()), within=st.booleans())
def test_where_nothing_is_found_everything_is_read(
    fields: tuple[dict[str, Any], dict[str, Any]], required: tuple[bool, bool], within: bool
) -> None:
    old, new = (
        of_one_field(field, required=always, within=within) for field, always in zip(fields, required, strict=True)
    )
    data: list[dict[str, Any]] = [{}, *({"x": value} for value in VALUES)]
    for pairs, found in (
        ([(old, new)], breaks_for_producers(old, new)),
        ([(old, new), (new, old)], breaks_for_consumers(old, new)),
    ):
        for written, read in pairs if not found else ():
            writer, reader = (jsonschema.Draft202012Validator(body) for body in (written, read))
            for one in ({"d": inner} if within else inner for inner in data):
                assert not writer.is_valid(one) or reader.is_valid(one)
