"""Checks field by field whether one version of a schema can read the messages of another.

It knows the keywords of our models. A change that it cannot judge counts as a break. Readers ignore unknown fields,
which are no break.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

Schema = dict[str, Any]
Side = Literal["old writers", "old readers"]

_ANNOTATIONS: Final = {"$schema", "$id", "$defs", "title", "description", "examples", "default"}

# The keywords of a reader, and when a writer meets them.
_FLOORS: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems")
_CEILINGS: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")
_FORMS: Final = ("pattern", "format")
_MEETS: Final[Mapping[str, Callable[[Any, Any], bool]]] = (
    dict.fromkeys(_FLOORS, lambda written, read: written >= read)
    | dict.fromkeys(_CEILINGS, lambda written, read: written <= read)
    | dict.fromkeys(_FORMS, lambda written, read: written == read)
)
_KEYWORDS: Final = {"type", "enum", "properties", "required", "items", *_MEETS}


@dataclass(frozen=True, slots=True)
class Break:
    """A change that one side of a topic cannot follow."""

    side: Side
    problem: str

    def __str__(self) -> str:
        return f"breaks {self.side}: {self.problem}"


def breaks_for_consumers(old: Schema, new: Schema) -> list[Break]:
    """Compare two versions of a topic that other services read: for new messages, and for those still in Kafka."""
    unreadable = _Comparison(new, old, reader_has_defaults=False, reads_all_fields=False)
    left_behind = _Comparison(old, new, reader_has_defaults=True, reads_all_fields=False)
    return [
        *(Break("old readers", problem) for problem in unreadable.problems()),
        *(Break("old writers", problem) for problem in left_behind.problems()),
    ]


def breaks_for_producers(old: Schema, new: Schema) -> list[Break]:
    """Compare two versions of a topic that other services write: their messages still have to be understood."""
    unread = _Comparison(old, new, reader_has_defaults=False, reads_all_fields=True)
    return [Break("old writers", problem) for problem in unread.problems()]


@dataclass(frozen=True, slots=True)
class _Comparison:
    """Everything that `writer` allows and `reader` does not."""

    writer: Schema
    reader: Schema
    reader_has_defaults: bool
    reads_all_fields: bool

    def problems(self) -> list[str]:
        return list(self._of(self.writer, self.reader, ""))

    def _of(self, written: Schema, read: Schema, field: str) -> Iterator[str]:
        """Each form that is written has to be one of those that are read."""
        forms = list(_forms(read, self.reader))
        for form in _forms(written, self.writer):
            of_its_type = [other for other in forms if "type" not in other or _is_type(form.get("type"), other["type"])]
            yield from min((list(self._of_form(form, other, field)) for other in of_its_type or forms), key=len)

    def _of_form(self, written: Schema, read: Schema, field: str) -> Iterator[str]:
        unknown = {*written, *read} - _KEYWORDS - _ANNOTATIONS
        if unknown:
            yield f"{field or 'data'}: {', '.join(sorted(unknown))} cannot be judged"
        elif "type" in read and not _is_type(written.get("type"), read["type"]):
            yield f"{field or 'data'}: {written.get('type', 'anything')} is written, {read['type']} is read"
        elif "enum" in written:
            yield from _of_values(written["enum"], read, field)
        else:
            yield from _of_bounds(written, read, field)
            yield from self._of_properties(written, read, field)
            if "items" in read:
                yield from self._of(written.get("items", {}), read["items"], f"{field}[]")

    def _of_properties(self, written: Schema, read: Schema, within: str) -> Iterator[str]:
        theirs, ours = written.get("properties", {}), read.get("properties", {})
        for name in read.get("required", ()):
            may_be_absent = name not in written.get("required", ())
            if may_be_absent and not (self.reader_has_defaults and "default" in ours.get(name, {})):
                yield f"{_inner(within, name)}: may be absent, and is needed"
        for name, field in theirs.items():
            if name in ours:
                yield from self._of(field, ours[name], _inner(within, name))
            if self.reads_all_fields:
                yield from _of_meaning(field, ours.get(name), _inner(within, name))


def _of_values(values: list[Any], read: Schema, field: str) -> Iterator[str]:
    if "enum" in read:
        known = {_text(value) for value in read["enum"]}
        for value in values:
            if _text(value) not in known:
                yield f"{field}: {_text(value)} is written, and is not known"
        return
    for keyword in sorted(_MEETS.keys() & read.keys()):
        if keyword not in ("minLength", "maxLength"):
            yield f"{field}: {keyword} cannot be judged of single values"
        elif not all(_MEETS[keyword](len(value), read[keyword]) for value in values):
            yield f"{field}: not every value that is written has {keyword} {read[keyword]}"


def _of_bounds(written: Schema, read: Schema, field: str) -> Iterator[str]:
    if "enum" in read:
        yield f"{field}: anything is written, {_text(read['enum'])} is read"
    for keyword in sorted(_MEETS.keys() & read.keys()):
        if keyword not in written:
            yield f"{field}: no {keyword} is kept to, {_text(read[keyword])} is needed"
        elif not _MEETS[keyword](written[keyword], read[keyword]):
            yield f"{field}: {keyword} {_text(written[keyword])} is kept to, {_text(read[keyword])} is needed"


def _of_meaning(written: Schema, read: Schema | None, field: str) -> Iterator[str]:
    """A written field has to be read, and leaving it out has to keep its meaning."""
    if read is None:
        yield f"{field}: is written, and is not read any more"
    elif "default" in written and _text(written["default"]) != _text(read.get("default")):
        yield f"{field}: left out it meant {_text(written['default'])}, now {_text(read.get('default'))}"


def _forms(schema: Schema, root: Schema) -> Iterator[Schema]:
    """The alternatives of a schema, references followed."""
    if "$ref" in schema:
        forms = _forms(root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root)
    elif "anyOf" in schema:
        forms = (form for one in schema["anyOf"] for form in _forms(one, root))
    else:
        yield _with_enum(schema)
        return
    beside = {name: value for name, value in schema.items() if name not in {"$ref", "anyOf"} | _ANNOTATIONS}
    for form in forms:
        # Of a keyword that stands twice both would have to hold.
        yield form | beside | {f"{name} twice": True for name in beside.keys() & form.keys()}


def _with_enum(schema: Schema) -> Schema:
    if "const" not in schema:
        return schema
    return {name: value for name, value in schema.items() if name != "const"} | {"enum": [schema["const"]]}


def _is_type(written: object, read: object) -> bool:
    return written == read or (written, read) == ("integer", "number")


def _inner(within: str, name: str) -> str:
    return f"{within}.{name}" if within else name


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
