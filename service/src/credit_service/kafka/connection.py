"""How this deployment reaches Kafka, and what its topics are called there."""

from dataclasses import dataclass

from credit_contracts.topics import INCOMING_TOPICS


@dataclass(frozen=True, slots=True)
class KafkaConnection:
    """Addresses and names. `topic_prefix` stands before every topic's name, so that deployments can share a broker."""

    bootstrap_servers: str
    group_id: str
    topic_prefix: str = ""

    def topic(self, name: str) -> str:
        """The topic's name in this deployment."""
        return self.topic_prefix + name

    def event_type(self, topic: str) -> str:
        """The name that the contracts know the topic by, which is the type of its events."""
        return topic.removeprefix(self.topic_prefix)

    @property
    def incoming_topics(self) -> list[str]:
        """The topics to read."""
        return [self.topic(name) for name in INCOMING_TOPICS]

    @property
    def cursor_topic(self) -> str:
        """The relay's own topic of one partition; only an offset is ever committed to it, nothing is written."""
        return self.topic("credit-service-relay-cursor")

    @property
    def relay_id(self) -> str:
        """The relay's transactional id and the group of its cursor."""
        return f"{self.group_id}-relay"
