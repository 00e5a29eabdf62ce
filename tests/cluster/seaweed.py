"""SeaweedFS as an S3 store without authentication: it takes any signature, or none."""

import http.client
import subprocess
from collections.abc import Sequence
from pathlib import Path

from processes import LOOPBACK, Server, ServerError, free_ports, spawn, wait_until

BUCKET = "tourbillon"
START_LIMIT_S = 60
STOP_GRACE_S = 0.5  # it takes over a minute to heed SIGTERM, and its data is not kept
PROBE_TIMEOUT_S = 5
SOCKETS = ("filer", "filer-grpc", "master-grpc", "s3", "s3-grpc", "volume-grpc")
PROBE_OBJECT = f"/{BUCKET}/ready-probe"


def spawn_store(run: Path, weed: Path, disk_mib: int | None) -> int:
    """Starts the store, on a disk of its own of this size if one is given; returns its port."""
    (run / "s3").mkdir()
    if disk_mib is not None:
        _mount(run / "s3", disk_mib)
    ports = free_ports(8)
    litter = [f"/tmp/seaweedfs-{role}-{port}.sock" for role in SOCKETS for port in ports]
    spawn(run, "s3", _command(weed, run / "s3", ports), STOP_GRACE_S, litter)
    return ports[0]


def wait_ready(port: int, servers: Sequence[Server]) -> None:
    """Waits until the store keeps the second of two writers out."""
    wait_until(f"S3 store at port {port}", lambda: _is_ready(port), servers, START_LIMIT_S)


def unmount(run: Path) -> None:
    """Takes the store's own disk away, if it has one."""
    if (run / "s3").is_mount():
        subprocess.run(["umount", "--lazy", run / "s3"], check=True)


def _mount(folder: Path, size_mib: int) -> None:
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", folder]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise ServerError(f"no disk of {size_mib} MiB for the store: {done.stderr.strip()}")


def _command(weed: Path, folder: Path, ports: list[int]) -> list[str]:
    options = {
        "dir": folder,
        "ip": LOOPBACK,
        "ip.bind": LOOPBACK,
        "filer": "true",
        "s3": "true",
        "s3.port": ports[0],
        "s3.port.grpc": ports[1],
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "master.port": ports[2],
        "master.port.grpc": ports[3],
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": 256,
        "volume.port": ports[4],
        "volume.port.grpc": ports[5],
        "volume.max": 100,
        "volume.preStopSeconds": 0,
        "filer.port": ports[6],
        "filer.port.grpc": ports[7],
    }
    flags = [f"-{name}={value}" for name, value in options.items()]
    return [str(weed), "-logtostderr=true", "server", *flags]


def _is_ready(port: int) -> bool:
    """Whether the bucket is there and holds exactly one of two writes of a new object."""
    bucket = request(port, "PUT", f"/{BUCKET}")[0]
    if bucket not in (200, 409):
        return False
    request(port, "DELETE", PROBE_OBJECT)
    if_absent = {"If-None-Match": "*"}
    first = request(port, "PUT", PROBE_OBJECT, b"first", if_absent)[0]
    second = request(port, "PUT", PROBE_OBJECT, b"second", if_absent)[0]
    got = request(port, "GET", PROBE_OBJECT)
    request(port, "DELETE", PROBE_OBJECT)
    return (first, second, got) == (200, 412, (200, b"first"))


def request(
    port: int, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    """One unsigned request; status and body."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=PROBE_TIMEOUT_S)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except http.client.HTTPException as error:
        raise OSError(f"no HTTP answer: {error!r}") from error
    finally:
        connection.close()
