"""Compares the current models with the published versions of the schemas."""

from collections.abc import Iterator
from typing import Any

from credit_contracts.incoming import INCOMING
from credit_contracts.schemas import generate, published, rendered, schema
from credit_contracts.schemas.compatibility import Break, breaks_for_consumers, breaks_for_producers


def breaks() -> Iterator[str]:
    """Yield a line for each change that breaks users of a published version, now or in any later version."""
    generated = generate()
    # A schema is compared with itself first: once published, it could not be withdrawn, nor its changes be judged.
    for topic, body in generated.items():
        yield from dict.fromkeys(f"{topic}: {found.problem}" for found in breaks_of(topic, body, body))
    for topic, versions in published().items():
        for version in versions:
            for found in breaks_of(topic, schema(topic, version), generated.get(topic)):
                yield f"{topic} v{version}: {found}"


def breaks_of(topic: str, old: dict[str, Any], new: dict[str, Any] | None) -> list[Break]:
    """Compare a version of a topic with the new one; None if the topic is removed."""
    if new is None:
        return [Break("old writers", "the topic is gone"), Break("old readers", "the topic is gone")]
    return breaks_for_producers(old, new) if topic in INCOMING else breaks_for_consumers(old, new)


def unwritten() -> Iterator[str]:
    """Yield a line for each topic whose newest version differs from its model."""
    for topic, body in generate().items():
        if topic not in published() or rendered(schema(topic)) != rendered(body):
            yield f"{topic}: the newest version is not what the model says; run python -m credit_contracts.schemas"
