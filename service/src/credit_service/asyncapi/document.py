"""The AsyncAPI 3 document of a deployment: every topic with its messages, headers, schemas, examples and bindings."""

import json
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final, Protocol

from credit_contracts.topics import TOPICS, TopicContract
from credit_service.asyncapi.messages import BINDING, Json, messages_of, ref, schemas_of

ASYNCAPI: Final = "3.0.0"
GROUP_ID_DEFAULT: Final = "credit-service"
PARTITIONER: Final = "murmur2 of the key, as Java and aiokafka do by default"
PARTITIONER_NEEDED: Final = (
    f"{PARTITIONER}; librdkafka needs partitioner=murmur2_random. "
    "An account must be on the same partition number in every incoming topic."
)


class Chosen(Protocol):
    """The settings that show in the document."""

    @property
    def topic_prefix(self) -> str:
        """Before every topic's name."""

    @property
    def kafka_group_id(self) -> str:
        """The group that reads."""

    @property
    def kafka_security_protocol(self) -> str:
        """How brokers are reached."""

    @property
    def kafka_sasl_mechanism(self) -> str:
        """How to log in, where there is a login."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """What a deployment has chosen; as it is, one that has chosen nothing."""

    topic_prefix: str = ""
    group_id: str = GROUP_ID_DEFAULT
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "SCRAM-SHA-512"

    @classmethod
    def of(cls, settings: Chosen) -> "Deployed":
        """As the settings say."""
        return cls(
            settings.topic_prefix,
            settings.kafka_group_id,
            settings.kafka_security_protocol,
            settings.kafka_sasl_mechanism,
        )


def asyncapi(deployed: Deployed | None = None) -> Json:
    """The document. It names no broker and holds no secret."""
    deployed = deployed or Deployed()
    messages = [message for topic in TOPICS for message in messages_of(topic)]
    secured = _security_schemes(deployed)
    return {
        "asyncapi": ASYNCAPI,
        "id": "urn:credit-service",
        "info": _info(),
        "defaultContentType": "application/json",
        "servers": {"kafka": _server(deployed, secured)},
        "channels": {topic.name: _channel(topic, deployed) for topic in TOPICS},
        "operations": {_operation_name(topic): _operation(topic, deployed) for topic in TOPICS},
        "components": {
            "messages": {message["name"]: message for message in messages},
            "schemas": {name: body for topic in TOPICS for name, body in schemas_of(topic)},
            **({"securitySchemes": secured} if secured else {}),
        },
    }


def rendered(document: Json) -> str:
    """The document as the text of its file."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _info() -> Json:
    return {
        "title": "Credit service",
        "version": version("credit-service"),
        "description": (
            "Campaigns, mailer and billing say on Kafka what happened; the credit service keeps the ledger of their "
            "customers' credits, and tells what changed: each event has one effect, and each change is published once."
            "\n\nMessages are CloudEvents 1.0 in the Kafka binding. `source` and `id` name an attempt, for ever: the "
            "same again has no second effect, and the same with other content is a dead letter. Read what is "
            "published with `isolation.level=read_committed`. Of what goes in, fields that nobody knows are ignored; "
            "of what comes out, ignore fields that you do not know."
        ),
        "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
    }


def _server(deployed: Deployed, secured: Json) -> Json:
    is_encrypted = deployed.security_protocol in ("SSL", "SASL_SSL")
    server: Json = {
        "host": "{brokers}",
        "protocol": "kafka-secure" if is_encrypted else "kafka",
        "title": "Kafka",
        "description": "The brokers of this deployment; who runs it knows their addresses.",
        "variables": {
            "brokers": {
                "default": "localhost:9092",
                "description": "host:port, several parted by commas, as in CREDITS_KAFKA_BOOTSTRAP_SERVERS.",
            }
        },
        "bindings": {"kafka": {"bindingVersion": BINDING}},
    }
    if secured:
        server["security"] = [ref("components", "securitySchemes", name) for name in secured]
    return server


_SECURITY_TYPES: Final = {
    "SCRAM-SHA-256": "scramSha256",
    "SCRAM-SHA-512": "scramSha512",
    "PLAIN": "plain",
    "OAUTHBEARER": "oauth2",
}


def _security_schemes(deployed: Deployed) -> Json:
    if deployed.security_protocol.startswith("SASL_"):
        kind = _SECURITY_TYPES[deployed.sasl_mechanism]
        # Where its tokens come from is no matter of those who read this.
        flows: Json = {"flows": {}} if kind == "oauth2" else {}
        return {"login": {"type": kind, "description": f"SASL, {deployed.sasl_mechanism}", **flows}}
    return {}


def _channel(topic: TopicContract, deployed: Deployed) -> Json:
    name = deployed.topic_prefix + topic.name
    return {
        "address": name,
        "title": topic.name,
        "description": "\n\n".join(
            [
                topic.description,
                f"From {_names(topic.producers)}, for {_names(topic.consumers)}.",
                f"**Order**: {topic.ordering}",
                f"**Delivery**: {topic.delivery}",
                f"**Compatibility**: {topic.compatibility}",
                f"**Partitioner**: {PARTITIONER_NEEDED if topic.direction == 'in' else PARTITIONER + '.'}",
            ]
        ),
        "messages": {m["name"]: ref("components", "messages", m["name"]) for m in messages_of(topic)},
        "bindings": {
            "kafka": {
                "topic": name,
                "partitions": topic.partitions,
                "topicConfiguration": {
                    "cleanup.policy": [topic.cleanup_policy],
                    "retention.ms": topic.retention_ms,
                    "max.message.bytes": topic.max_message_bytes,
                },
                "bindingVersion": BINDING,
            }
        },
        "x-producers": list(topic.producers),
        "x-consumers": list(topic.consumers),
        "x-partitioner": "murmur2",
    }


def _operation_name(topic: TopicContract) -> str:
    return f"{'read' if topic.direction == 'in' else 'publish'}-{topic.name}"


def _operation(topic: TopicContract, deployed: Deployed) -> Json:
    is_read = topic.direction == "in"
    operation: Json = {
        "action": "receive" if is_read else "send",
        "channel": ref("channels", topic.name),
        "title": f"{'Read' if is_read else 'Publish'} {topic.name}",
        "messages": [ref("channels", topic.name, "messages", m["name"]) for m in messages_of(topic)],
        "bindings": {"kafka": {"bindingVersion": BINDING}},
    }
    if is_read:
        operation["bindings"]["kafka"]["groupId"] = {"type": "string", "const": deployed.group_id}
    return operation


def _names(services: tuple[str, ...]) -> str:
    return ", ".join(services)
