"""Two of Kafka's requests, in versions that aiokafka does not have: they say what the one who asks may do."""

from aiokafka.protocol.admin import DescribeGroupsResponse_v3
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

NAME = String("utf-8")


class TopicsResponse(Response):  # type: ignore[misc]  # aiokafka ships no types
    """Brokers, topics with their partitions, and the bits of what is allowed on each."""

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
    """Topics by their names; none is made by asking for it."""

    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = TopicsResponse
    SCHEMA = Schema(
        ("topics", Array(NAME)),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class TopicsRequest(Request[TopicsRequestStruct]):  # type: ignore[misc]  # aiokafka ships no types
    """What there is of these topics, and what is allowed."""

    API_KEY = 3

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def build(self, request_struct_class: type[TopicsRequestStruct]) -> TopicsRequestStruct:
        """Called by aiokafka, once it knows the broker's versions."""
        return request_struct_class(self._names, False, False, True)


class GroupsRequestStruct(RequestStruct):  # type: ignore[misc]  # aiokafka ships no types
    """aiokafka's own reads the answer of an older version."""

    API_KEY = 15
    API_VERSION = 3
    RESPONSE_TYPE = DescribeGroupsResponse_v3
    SCHEMA = Schema(("groups", Array(NAME)), ("include_authorized_operations", Boolean))


class GroupsRequest(Request[GroupsRequestStruct]):  # type: ignore[misc]  # aiokafka ships no types
    """What is allowed on these groups."""

    API_KEY = 15

    def __init__(self, groups: list[str]) -> None:
        self._groups = groups

    def build(self, request_struct_class: type[GroupsRequestStruct]) -> GroupsRequestStruct:
        """Called by aiokafka, once it knows the broker's versions."""
        return request_struct_class(self._groups, True)
