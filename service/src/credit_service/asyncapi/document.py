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
    """The settings that appear in the document."""

    @property
    def topic_prefix(self) -> str:
        """The prefix of the topic names."""

    @property
    def kafka_group_id(self) -> str:
        """The consumer group."""

    @property
    def kafka_security_protocol(self) -> str:
        """The security protocol of the brokers."""

    @property
    def kafka_sasl_mechanism(self) -> str:
        """The mechanism of the login, if there is one."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """The settings of a deployment that appear in the document; by default the service's defaults."""

    topic_prefix: str = ""
    group_id: str = GROUP_ID_DEFAULT
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "SCRAM-SHA-512"

    @classmethod
    def of(cls, settings: Chosen) -> "Deployed":
        """Takes them from the settings."""
        return cls(
            settings.topic_prefix,
            settings.kafka_group_id,
            settings.kafka_security_protocol,
            settings.kafka_sasl_mechanism,
        )


def asyncapi(deployed: Deployed | None = None) -> Json:
    """The document, without brokers and secrets."""
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
            "Campaigns, mailer and billing report events on Kafka; the credit service keeps the ledger of their "
            "customers' credits, and publishes changes: each event has one effect, and each change is published once."
            "\n\nMessages are CloudEvents 1.0 in the Kafka binding. `source` and `id` name an attempt for good: a "
            "repeat has no second effect, and a repeat with other content is a dead letter. Read the outgoing topics "
            "with `isolation.level=read_committed`. The service ignores unknown fields of incoming events; ignore "
            "unknown fields of outgoing events."
        ),
        "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
    }


def _server(deployed: Deployed, secured: Json) -> Json:
    is_encrypted = deployed.security_protocol in ("SSL", "SASL_SSL")
    server: Json = {
        "host": "{brokers}",
        "protocol": "kafka-secure" if is_encrypted else "kafka",
        "title": "Kafka",
        "description": "The brokers of this deployment; its operators know the addresses.",
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
        # Readers of the document do not need the source of the tokens.
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
