"""Two of Kafka's requests in versions that aiokafka lacks: with the operations that are allowed, and topics' ids."""

from io import BytesIO
from uuid import UUID

from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.admin import DescribeGroupsResponse_v3
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Array,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    String,
    TaggedFields,
)

NAME = String("utf-8")
COMPACT_NAME = CompactString("utf-8")
NO_ID = UUID(int=0)
"""The id of a topic that has none, or whose id the broker does not show."""


class Uuid(AbstractType[UUID]):  # type: ignore[misc]  # aiokafka ships no types
    """Sixteen bytes; aiokafka has no such type."""

    @classmethod
    def encode(cls, value: UUID) -> bytes:
        """The bytes to send."""
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> UUID:
        """The value that was received."""
        return UUID(bytes=data.read(16))


class TopicsResponse(Response):  # type: ignore[misc]  # aiokafka ships no types
    """Brokers, topics with their partitions, and the operations that are allowed on each, as bits."""

    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", Array(("node_id", Int32), ("host", NAME), ("port", Int32), ("rack", NAME))),
        ("cluster_id", NAME),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", NAME),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("cluster_authorized_operations", Int32),
    )


class TopicsRequestStruct(RequestStruct):  # type: ignore[misc]  # aiokafka ships no types
    """Topics by their names; the request creates none."""

    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = TopicsResponse
    SCHEMA = Schema(
        ("topics", Array(NAME)),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class TopicsWithIdsResponse(Response):  # type: ignore[misc]  # aiokafka ships no types
    """The same with the topics' ids, as brokers have them since Kafka 2.8."""

    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", COMPACT_NAME),
                ("port", Int32),
                ("rack", COMPACT_NAME),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", COMPACT_NAME),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", COMPACT_NAME),
                ("topic_id", Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class TopicsWithIdsRequestStruct(RequestStruct):  # type: ignore[misc]  # aiokafka ships no types
    """Topics by their names; the request creates none."""

    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 10
    RESPONSE_TYPE = TopicsWithIdsResponse
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", Uuid), ("topic", COMPACT_NAME), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class TopicsRequest(
    Request[TopicsRequestStruct | TopicsWithIdsRequestStruct]  # type: ignore[misc]  # aiokafka ships no types
):
    """Requests these topics and the operations that are allowed; with their ids, where the broker knows them."""

    API_KEY = 3

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def build(
        self, request_struct_class: type[TopicsRequestStruct | TopicsWithIdsRequestStruct]
    ) -> TopicsRequestStruct | TopicsWithIdsRequestStruct:
        """Called by aiokafka, once it knows the broker's versions."""
        if request_struct_class is TopicsWithIdsRequestStruct:
            named: list[tuple[UUID, str, dict[int, bytes]]] = [(NO_ID, name, {}) for name in self._names]
            return request_struct_class(named, False, False, True, {})
        return request_struct_class(self._names, False, False, True)


class GroupsRequestStruct(RequestStruct):  # type: ignore[misc]  # aiokafka ships no types
    """Groups by their names; aiokafka's own request is of an older version."""

    API_KEY = 15
    API_VERSION = 3
    RESPONSE_TYPE = DescribeGroupsResponse_v3
    SCHEMA = Schema(("groups", Array(NAME)), ("include_authorized_operations", Boolean))


class GroupsRequest(Request[GroupsRequestStruct]):  # type: ignore[misc]  # aiokafka ships no types
    """Requests these groups and the operations that are allowed on them."""

    API_KEY = 15

    def __init__(self, groups: list[str]) -> None:
        self._groups = groups

    def build(self, request_struct_class: type[GroupsRequestStruct]) -> GroupsRequestStruct:
        """Called by aiokafka, once it knows the broker's versions."""
        return request_struct_class(self._groups, True)
