"""A real Postgres and a real Kafka on this machine, for demos and tests."""

from credit_local_stack.addresses import Addresses
from credit_local_stack.errors import NoDockerError, StackError, UsageError
from credit_local_stack.plan import KafkaSecurity
from credit_local_stack.servers import Servers, servers
from credit_local_stack.stack import Stack

__all__ = ["Addresses", "KafkaSecurity", "NoDockerError", "Servers", "Stack", "StackError", "UsageError", "servers"]
