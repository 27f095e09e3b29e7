"""The state of the membership in the consumer group, which the parts that read share."""

from typing import TYPE_CHECKING

from credit_service.kafka.consume.consumer import HandOverConsumer

if TYPE_CHECKING:
    from credit_service.kafka.consume.subscriber import Subscriber


class Membership:
    """Whether this process is in the group, and with which consumer: each join makes another one.

    `is_rejoining` is set from when partitions are revoked until the next ones are assigned.
    """

    def __init__(self) -> None:
        self.subscriber: Subscriber | None = None
        self.is_rejoining = False

    @property
    def consumer(self) -> HandOverConsumer:
        """The consumer of the running subscriber."""
        if self.subscriber is None:
            raise RuntimeError("the member is not in the group")
        return self.subscriber.consumer

    @property
    def is_in(self) -> bool:
        """Whether the process is in the group, or about to be; otherwise there is nothing to read."""
        return self.subscriber is not None and self.subscriber.is_running

    @property
    def member_id(self) -> str:
        """The id by which the coordinator knows this member; empty before it has joined."""
        # No public call gives it.
        coordinator = self.consumer._coordinator
        return str(coordinator.member_id) if coordinator is not None else ""

    @property
    def assigned(self) -> int:
        """The number of partitions that are assigned; 0 before the group was joined."""
        return len(self.consumer.assignment()) if self.is_in else 0
