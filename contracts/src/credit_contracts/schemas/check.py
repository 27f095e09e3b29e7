"""What the models of today do to the versions that were published."""

from collections.abc import Iterator
from typing import Any

from credit_contracts.incoming import INCOMING
from credit_contracts.schemas import generate, published, rendered, schema
from credit_contracts.schemas.compatibility import Break, breaks_for_consumers, breaks_for_producers


def breaks() -> Iterator[str]:
    """Tell what breaks anybody who keeps to a published version, or would with any later one, a line each."""
    generated = generate()
    # Held against itself before it is published: later it could not be taken back, nor any change of it be judged.
    for topic, body in generated.items():
        yield from dict.fromkeys(f"{topic}: {found.problem}" for found in breaks_of(topic, body, body))
    for topic, versions in published().items():
        for version in versions:
            for found in breaks_of(topic, schema(topic, version), generated.get(topic)):
                yield f"{topic} v{version}: {found}"


def breaks_of(topic: str, old: dict[str, Any], new: dict[str, Any] | None) -> list[Break]:
    """Compare a version of a topic with what is to be, None if the topic is to go."""
    if new is None:
        return [Break("old writers", "the topic is gone"), Break("old readers", "the topic is gone")]
    return breaks_for_producers(old, new) if topic in INCOMING else breaks_for_consumers(old, new)


def unwritten() -> Iterator[str]:
    """Tell of which topics the newest version is not what its model says."""
    for topic, body in generate().items():
        if topic not in published() or rendered(schema(topic)) != rendered(body):
            yield f"{topic}: the newest version is not what the model says; run python -m credit_contracts.schemas"
