"""The addresses, login and names of this deployment in Kafka."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from credit_contracts.topics import INCOMING_TOPICS
from credit_service.kafka.connect.credentials import Credentials

if TYPE_CHECKING:
    from credit_service.settings import Settings

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN", "OAUTHBEARER"]


@dataclass(frozen=True, slots=True)
class KafkaSecurity:
    """The security protocol, and the mechanism of the login."""

    protocol: SecurityProtocol = "PLAINTEXT"
    mechanism: SaslMechanism = "SCRAM-SHA-512"

    @property
    def uses_tls(self) -> bool:
        """Whether connections are encrypted, and the broker's certificate and host name are checked."""
        return self.protocol in ("SSL", "SASL_SSL")

    @property
    def has_login(self) -> bool:
        """Whether it logs in, with a user and a password or with a token."""
        return self.protocol in ("SASL_PLAINTEXT", "SASL_SSL")

    @property
    def shows_token(self) -> bool:
        """Whether it logs in with a token."""
        return self.has_login and self.mechanism == "OAUTHBEARER"


@dataclass(frozen=True, slots=True)
class KafkaConnection:
    """Addresses and names. Every topic's name begins with `topic_prefix`, so that deployments can share a broker.

    `instance_id` is the name of this process and of its next start, but of no other process; it may be empty.
    """

    bootstrap_servers: str
    group_id: str
    topic_prefix: str = ""
    security: KafkaSecurity = KafkaSecurity()
    instance_id: str = ""
    credentials: Credentials = field(default_factory=Credentials, repr=False, compare=False)

    @classmethod
    def of(cls, settings: Settings) -> KafkaConnection:
        """The connection of the settings."""
        return cls(
            settings.kafka_bootstrap_servers,
            settings.kafka_group_id,
            settings.topic_prefix,
            KafkaSecurity(settings.kafka_security_protocol, settings.kafka_sasl_mechanism),
            settings.instance_id,
            Credentials(settings),
        )

    @property
    def servers(self) -> list[str]:
        """The bootstrap addresses."""
        return self.bootstrap_servers.split(",")

    @property
    def options(self) -> dict[str, Any]:
        """The options of each of aiokafka's clients: addresses and login."""
        return {"bootstrap_servers": self.servers, **self.login}

    @property
    def login(self) -> dict[str, Any]:
        """The current login, to be read again for each connection; never raises."""
        credentials = self.credentials
        login: dict[str, Any] = {"security_protocol": self.security.protocol, "ssl_context": credentials.ssl_context}
        if self.security.shows_token:
            login |= {"sasl_mechanism": self.security.mechanism, "sasl_oauth_token_provider": credentials.tokens}
        elif self.security.has_login:
            login |= {
                "sasl_mechanism": self.security.mechanism,
                "sasl_plain_username": credentials.username,
                "sasl_plain_password": credentials.password,
            }
        return login

    @property
    def client_id(self) -> str:
        """The client id of a member, by which the group's members differ; it begins with the group's name."""
        return f"{self.group_id}-{self.instance_id}" if self.instance_id else self.group_id

    def topic(self, name: str) -> str:
        """The topic's name in this deployment."""
        return self.topic_prefix + name

    def event_type(self, topic: str) -> str:
        """The topic's name in the contracts, which is the type of its events."""
        return topic.removeprefix(self.topic_prefix)

    @property
    def incoming_topics(self) -> list[str]:
        """The topics to read."""
        return [self.topic(name) for name in INCOMING_TOPICS]

    @property
    def cursor_topic(self) -> str:
        """The relay's own topic of one partition; only an offset is committed to it, no record is written."""
        return self.topic("credit-service-relay-cursor")

    @property
    def relay_id(self) -> str:
        """The relay's transactional id and the group of its cursor."""
        return f"{self.group_id}-relay"
