"""The rights in Kafka that each use needs: the source of the documentation, `credits topics acls` and the checks."""

from collections.abc import Collection, Iterable
from typing import Literal, NamedTuple, get_args

from credit_contracts.topics import DEAD_LETTER_TOPIC, OUTGOING_TOPICS
from credit_service.kafka.connect.connection import KafkaConnection

Kind = Literal["topic", "group", "transactional-id"]
Operation = Literal["read", "write", "create", "describe", "describe-configs"]
Use = Literal["serve", "topics-create", "doctor", "replay", "skip", "reconcile", "tail", "trigger"]

USES: tuple[Use, ...] = get_args(Use)


class Acl(NamedTuple):
    """The right to an operation on a resource. `read` and `write` include `describe`."""

    kind: Kind
    name: str
    operation: Operation


def required_acls(connection: KafkaConnection, use: Use) -> list[Acl]:
    """All rights that `use` needs, which is the service or the command of that name."""
    incoming = connection.incoming_topics
    outgoing = [connection.topic(name) for name in OUTGOING_TOPICS]
    everything = [*incoming, *outgoing, connection.topic(DEAD_LETTER_TOPIC), connection.cursor_topic]
    match use:
        case "serve":
            return [*reading(connection), *publishing(connection)]
        case "topics-create":
            return _of("topic", everything, "create", "describe")
        case "doctor":
            return [
                *_of("topic", everything, "describe", "describe-configs"),
                *_of("topic", incoming, "read"),
                Acl("group", connection.group_id, "describe"),
            ]
        case "replay" | "skip":
            return _of("topic", incoming, "read")
        case "reconcile":
            return _of("topic", [*incoming, *outgoing], "read")
        case "tail":
            return _of("topic", outgoing, "read")
        case "trigger":
            return _of("topic", incoming, "write")


def reading(connection: KafkaConnection) -> list[Acl]:
    """The rights that the members of the consumer group need."""
    return [*_of("topic", connection.incoming_topics, "read"), Acl("group", connection.group_id, "read")]


def publishing(connection: KafkaConnection) -> list[Acl]:
    """The rights that the relay needs."""
    published = [connection.topic(name) for name in (*OUTGOING_TOPICS, DEAD_LETTER_TOPIC)]
    return [
        # Read as well: the relay looks in the topics whether a claim that was left over was published.
        *_of("topic", published, "write", "read"),
        Acl("transactional-id", connection.relay_id, "write"),
        Acl("topic", connection.cursor_topic, "read"),
        Acl("group", connection.relay_id, "read"),
    ]


def on_topics(topics: Iterable[str], operation: Operation) -> list[Acl]:
    """The right to the operation on each topic."""
    return _of("topic", topics, operation)


def named(refused: Collection[Acl]) -> str:
    """The refused rights in one line: `read topic a, b; write topic c`."""
    together: dict[tuple[Operation, Kind], list[str]] = {}
    for right in refused:
        together.setdefault((right.operation, right.kind), []).append(right.name)
    return "; ".join(f"{operation} {kind} {', '.join(names)}" for (operation, kind), names in together.items())


def _of(kind: Kind, names: Iterable[str], *operations: Operation) -> list[Acl]:
    return [Acl(kind, name, operation) for name in names for operation in operations]
