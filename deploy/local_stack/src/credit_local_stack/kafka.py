"""Kafka: one KRaft node, broker and controller in one process."""

from __future__ import annotations

import base64
import signal
import socket
import struct
import uuid
from typing import TYPE_CHECKING

from credit_local_stack.ports import HOST, free_port
from credit_local_stack.process import run_tool
from credit_local_stack.secured import java_arguments, scram_arguments, secured

if TYPE_CHECKING:
    from pathlib import Path

    from credit_local_stack.plan import KafkaSecurity

_ANSWER_SECONDS_MAX = 2
_METADATA_KEY, _METADATA_VERSION = 3, 4

_SETTINGS = {
    "node.id": "1",
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "INTERNAL",
    "listener.security.protocol.map": "CLIENT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "auto.create.topics.enable": "false",
    # Topics that do not say keep what they are given, whatever time it is of.
    "log.retention.ms": "-1",
    "offsets.topic.num.partitions": "4",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # A killed broker is let in again when its old session has run out: 9 s unless told otherwise. One that gets no
    # processor for so long is taken for dead.
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "6000",
    # The cleaner takes 128 MiB of the heap unless told otherwise.
    "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
}


class Kafka:
    """A Kafka broker that is its own controller."""

    name = "Kafka"
    orderly_end = signal.SIGTERM
    quick_end = signal.SIGKILL

    def __init__(
        self,
        data: Path,
        java: str,
        class_path: list[str],
        heap_mib: int,
        advertised_port: int | None,
        security: KafkaSecurity | None,
        chosen: dict[str, str],
        rebalance_delay_ms: int = 0,
    ) -> None:
        self.folder = data / "kafka"
        self.log = data / "kafka.log"
        self.port = 0
        self.certificates_port = 0
        self._security = security
        self._rebalance_delay_ms = rebalance_delay_ms
        self._chosen = chosen
        self.internal_port = 0
        self._controller_port = 0
        self._advertised_port = advertised_port
        self._properties = data / "kafka.properties"
        self._scratch = data / "kafka-tmp"
        self._cluster_id_file = data / "kafka-cluster-id"
        self._java = [
            java,
            f"-Xmx{heap_mib}m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-XX:-UsePerfData",  # it would leave a file in the system's temporary folder after a kill
            f"-Djava.io.tmpdir={self._scratch}",
            "-Dorg.apache.logging.log4j.level=INFO",
            *java_arguments(security),
            "-cp",
            ":".join(class_path),
        ]

    def choose_ports(self) -> None:
        """Take ports that are free now."""
        self.port, self.internal_port, self._controller_port = free_port(), free_port(), free_port()
        if self._security:
            self.certificates_port = free_port()

    def move(self) -> None:
        """Take other ports for clients, as at another address, from the next start on."""
        controller = self._controller_port
        self.choose_ports()
        self._controller_port = controller

    def prepare(self) -> None:
        """Format the log folder, unless that is done."""
        self._scratch.mkdir(exist_ok=True)
        if (self.folder / "bootstrap.checkpoint").exists():
            return
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        self._cluster_id_file.write_text(cluster_id)
        self._write_properties()
        format_folder = [
            "kafka.tools.StorageTool",
            "format",
            "--ignore-formatted",
            f"--cluster-id={cluster_id}",
            f"--config={self._properties}",
            *scram_arguments(self._security),
        ]
        run_tool([*self._java, *format_folder], self.log, self.quick_end)

    def command(self) -> list[str]:
        """Return what runs the server in the foreground."""
        self._write_properties()
        return [*self._java, "kafka.Kafka", str(self._properties)]

    def answers(self, pid: int) -> bool:  # noqa: ARG002 - the cluster's id tells whose answer it is
        """Whether this cluster says that it has a broker for clients."""
        try:
            answer = _ask(self.internal_port if self._security else self.port, _metadata_request())
        except OSError:
            return False
        correlation_throttle_brokers = struct.Struct("!iii")
        if len(answer) < correlation_throttle_brokers.size:
            return False
        _, _, brokers = correlation_throttle_brokers.unpack_from(answer)
        return brokers == 1 and self._cluster_id_file.read_bytes() in answer

    def _write_properties(self) -> None:
        client, internal, controller = self.port, self.internal_port, self._controller_port
        # The broker talks to itself past a proxy that tests may put before the clients' listener.
        settings = {
            **_SETTINGS,
            "group.initial.rebalance.delay.ms": str(self._rebalance_delay_ms),
            "log.dirs": str(self.folder),
            "controller.quorum.voters": f"1@{HOST}:{controller}",
            "listeners": f"CLIENT://{HOST}:{client},INTERNAL://{HOST}:{internal},CONTROLLER://{HOST}:{controller}",
            "advertised.listeners": f"CLIENT://{HOST}:{self._advertised_port or client},INTERNAL://{HOST}:{internal}",
        }
        if self._security:
            settings = secured(settings, self._security, f"{HOST}:{self.certificates_port}")
        settings |= self._chosen
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))


def _metadata_request() -> bytes:
    """Return Kafka's Metadata request for no topics: it is answered with the brokers that take clients."""
    client_id_null, topics_none, create_topics = -1, 0, False
    return struct.pack("!hhihi?", _METADATA_KEY, _METADATA_VERSION, 0, client_id_null, topics_none, create_topics)


def _ask(port: int, request: bytes) -> bytes:
    with socket.create_connection((HOST, port), timeout=_ANSWER_SECONDS_MAX) as connection:
        connection.sendall(struct.pack("!i", len(request)) + request)
        with connection.makefile("rb") as stream:
            size = stream.read(4)
            return stream.read(struct.unpack("!i", size)[0]) if len(size) == 4 else b""
