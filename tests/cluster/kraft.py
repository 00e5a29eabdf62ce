"""Apache Kafka in KRaft mode: every node is broker and controller, all on loopback.

Brokers talk to one another in plain text; clients may also log in, with or without TLS.
"""

import base64
import shutil
import socket
import struct
import subprocess
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from certificates import Certificates
from processes import LOOPBACK, Server, ServerError, free_ports, spawn, wait_until

HEAP = "512m"
PROTOCOLS = ("PLAINTEXT", "SASL_PLAINTEXT", "SSL", "SASL_SSL")
DETOUR = "DETOUR"
START_LIMIT_S = 90
STOP_GRACE_S = 10.0  # the last of three has no quorum to say goodbye to
PROBE_TIMEOUT_S = 2
METADATA, METADATA_VERSION = 3, 5
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
LOGIN_MODULES = "org.apache.kafka.common.security"
LOG_CONFIG = Path(__file__).with_name("log4j2.properties")


@dataclass(frozen=True)
class Access:
    """Who may log in, and what the brokers show of themselves."""

    user: str
    password: str
    certificates: Certificates


@dataclass(frozen=True)
class Node:
    """A broker and controller to be. Its listeners are called after their protocols, but for one:
    of DETOUR it tells clients `detour_port`, where nobody listens until a test does, who then has
    their connections to this broker in his hands."""

    id: int
    ports: dict[str, int]
    detour_port: int
    controller_port: int
    folder: Path

    @property
    def port(self) -> int:
        return self.ports["PLAINTEXT"]

    @property
    def address(self) -> str:
        return self.address_of("PLAINTEXT")

    def address_of(self, protocol: str) -> str:
        return f"{LOOPBACK}:{self.ports[protocol]}"

    def listeners(self) -> str:
        return ",".join(f"{name}://{self.address_of(name)}" for name in self.ports)

    def advertised(self) -> str:
        told = {**self.ports, DETOUR: self.detour_port}
        return ",".join(f"{name}://{LOOPBACK}:{port}" for name, port in told.items())

    def live_brokers(self) -> int:
        """How many live brokers this one knows, by Kafka's own protocol; 0 without controller."""
        client = b"probe"
        header = struct.pack(">hhih", METADATA, METADATA_VERSION, 1, len(client)) + client
        request = header + struct.pack(">ib", 0, 0)  # about no topics, and create none
        with socket.create_connection((LOOPBACK, self.port), PROBE_TIMEOUT_S) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            with connection.makefile("rb") as answers:
                (length,) = struct.unpack(">i", _exactly(answers.read(4), 4))
                return _count_brokers(_exactly(answers.read(length), length))


def spawn_brokers(run: Path, libs: Path, count: int, access: Access) -> list[Node]:
    """Formats and starts `count` nodes as one cluster."""
    java = shutil.which("java")
    if java is None:
        raise ServerError("`java` is not on the path; Kafka 4 needs Java 17")
    names = (*PROTOCOLS, DETOUR)
    each = len(names) + 2
    ports = free_ports(each * count)
    nodes = []
    for i in range(count):
        own = ports[each * i : each * (i + 1)]
        listeners = dict(zip(names, own[2:], strict=True))
        nodes.append(Node(i + 1, listeners, own[1], own[0], run / f"kafka-{i + 1}"))
    for node in nodes:
        node.folder.mkdir()
        (node.folder / "server.properties").write_text(_properties(node, nodes, access))
    _format(java, libs, nodes, access)
    for node in nodes:
        spawn(run, f"kafka-{node.id}", _broker(java, libs, node), STOP_GRACE_S)
    return nodes


def wait_ready(nodes: Sequence[Node], servers: Sequence[Server]) -> None:
    """Waits until every node knows every other as a live broker."""

    def ready() -> bool:
        return all(node.live_brokers() == len(nodes) for node in nodes)

    addresses = ", ".join(node.address for node in nodes)
    wait_until(f"brokers at {addresses}", ready, servers, START_LIMIT_S)


def _broker(java: str, libs: Path, node: Node) -> list[str]:
    options = [f"-Xms{HEAP}", f"-Xmx{HEAP}", "-XX:+UseG1GC", "-XX:+ExitOnOutOfMemoryError"]
    main = ["kafka.Kafka", str(node.folder / "server.properties")]
    return [java, *options, *_logging(), "-cp", f"{libs}/*", *main]


def _format(java: str, libs: Path, nodes: list[Node], access: Access) -> None:
    cluster = _cluster_id()
    login = f"[name={access.user},password={access.password}]"
    tool = [java, "-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", *_logging()]
    tool += ["-cp", f"{libs}/*", "kafka.tools.StorageTool", "format", "--cluster-id", cluster]
    for mechanism in MECHANISMS[1:]:
        tool += ["--add-scram", f"{mechanism}={login}"]
    running = []
    for node in nodes:
        config = ["--config", str(node.folder / "server.properties")]
        pipe, merged = subprocess.PIPE, subprocess.STDOUT
        running.append(subprocess.Popen([*tool, *config], stdout=pipe, stderr=merged, text=True))
    outputs = [(process.communicate()[0], process.returncode) for process in running]
    for output, code in outputs:
        if code != 0:
            raise ServerError(f"formatting Kafka's storage failed with {code}:\n{output}")


def _cluster_id() -> str:
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):  # the tool would take it for an option
            return text


def _logging() -> list[str]:
    return [f"-Dlog4j2.configurationFile={LOG_CONFIG}"]


def _properties(node: Node, nodes: list[Node], access: Access) -> str:
    replicas = min(3, len(nodes))
    in_sync = 2 if replicas == 3 else 1
    voters = ",".join(f"{n.id}@{LOOPBACK}:{n.controller_port}" for n in nodes)
    internal = {
        "offsets.topic.num.partitions": 8,
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.num.partitions": 8,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.num.partitions": 8,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
    }
    settings = {
        "process.roles": "broker,controller",
        "node.id": node.id,
        "controller.quorum.voters": voters,
        "controller.listener.names": "CONTROLLER",
        "listeners": f"{node.listeners()},CONTROLLER://{LOOPBACK}:{node.controller_port}",
        "advertised.listeners": node.advertised(),
        "listener.security.protocol.map": ",".join(
            [
                *(f"{name}:{name}" for name in PROTOCOLS),
                f"{DETOUR}:PLAINTEXT",
                "CONTROLLER:PLAINTEXT",
            ]
        ),
        "log.dirs": node.folder / "data",
        "auto.create.topics.enable": "false",
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        "group.initial.rebalance.delay.ms": 0,
        "log.cleaner.dedupe.buffer.size": 16 << 20,
        **internal,
        **_security(access),
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def _security(access: Access) -> dict[str, object]:
    user = f'user_{access.user}="{access.password}"'
    modules = {
        "plain": f"{LOGIN_MODULES}.plain.PlainLoginModule required {user};",
        "scram-sha-256": f"{LOGIN_MODULES}.scram.ScramLoginModule required;",
        "scram-sha-512": f"{LOGIN_MODULES}.scram.ScramLoginModule required;",
    }
    return {
        "sasl.enabled.mechanisms": ",".join(MECHANISMS),
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": access.certificates.broker,
        **{
            f"listener.name.{listener}.{mechanism}.sasl.jaas.config": module
            for listener in ("sasl_plaintext", "sasl_ssl")
            for mechanism, module in modules.items()
        },
    }


def _count_brokers(answer: bytes) -> int:
    at = 4 + 4  # correlation id, throttle time
    (brokers,) = struct.unpack_from(">i", answer, at)
    at += 4
    for _ in range(brokers):
        at = _after_text(answer, at + 4)  # id, host
        at = _after_text(answer, at + 4)  # port, rack
    at = _after_text(answer, at)  # cluster id
    (controller,) = struct.unpack_from(">i", answer, at)
    return int(brokers) if controller >= 0 else 0


def _after_text(answer: bytes, at: int) -> int:
    (length,) = struct.unpack_from(">h", answer, at)
    return at + 2 + max(int(length), 0)


def _exactly(data: bytes, length: int) -> bytes:
    if len(data) != length:
        raise EOFError("the broker closed the connection")
    return data
