"""Real Kafka and a real S3 store for the cluster tests, without containers.

    python3 tests/cluster/servers.py install                     fetch them (Maven, pip)
    python3 tests/cluster/servers.py start --run DIR [--brokers 3] [--store-disk-mib N]
    . DIR/env                                                    what the service needs
    python3 tests/cluster/servers.py status --run DIR
    python3 tests/cluster/servers.py kill --run DIR kafka-2      kill -9
    python3 tests/cluster/servers.py again --run DIR kafka-2     what has ended; also freeze, thaw
                                                                 and restart
    python3 tests/cluster/servers.py stop --run DIR

Needs Python 3.11, Java 17, openssl, and mvn and pip for `install`. Everything listens on free ports of
127.0.0.1, so several sets run side by side. `--store-disk-mib` gives the store a disk of its own,
which can be filled up; it needs root. `start` begins with empty servers each time and ends
when they answer; DIR keeps logs and data after `stop`.
Exit codes: 0 done, 1 failed, 3 (`status`) not all alive.
"""

import argparse
import shlex
import shutil
import signal
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import certificates
import install
import kraft
import processes
import seaweed
from processes import ServerError

DEFAULT_CACHE = Path(__file__).resolve().parents[2] / ".ci" / "cache"
OWN_FOLDERS = ("s3", "kafka-", "certificates")
# brokers hand their partitions over first
RESTART_GRACE_S = 60.0
ON_ONE = ("kill", "freeze", "thaw", "again", "restart")


def main() -> int:
    arguments = _parse()
    commands: dict[str, Callable[[argparse.Namespace], int]] = {
        "install": _install,
        "start": _start,
        "stop": _stop,
        "status": _status,
        "kill": _kill,
        "freeze": lambda arguments: _signal(arguments, signal.SIGSTOP),
        "thaw": lambda arguments: _signal(arguments, signal.SIGCONT),
        "again": _again,
        "restart": _restart,
    }
    try:
        return commands[arguments.command](arguments)
    except ServerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Kafka and S3 for the cluster tests.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("install", "start", "stop", "status", *ON_ONE):
        command = commands.add_parser(name)
        if name in ("install", "start"):
            command.add_argument("--cache", type=_folder, default=DEFAULT_CACHE)
        if name != "install":
            command.add_argument("--run", type=_folder, required=True)
        if name == "start":
            command.add_argument("--brokers", type=int, choices=(1, 3), default=1)
            command.add_argument("--store-disk-mib", type=int)
        if name in ON_ONE:
            command.add_argument("names", nargs="+", metavar="NAME")
    return parser.parse_args()


def _folder(text: str) -> Path:
    return Path(text).resolve()


def _install(arguments: argparse.Namespace) -> int:
    for line in install.install(arguments.cache):
        print(line)
    return 0


def _start(arguments: argparse.Namespace) -> int:
    run, cache = arguments.run, arguments.cache
    install.check_installed(cache)
    _prepare(run)
    begun = time.monotonic()
    try:
        port = seaweed.spawn_store(run, install.weed_binary(cache), arguments.store_disk_mib)
        made = certificates.make(run / "certificates")
        access = kraft.Access("ticks", uuid.uuid4().hex, made)
        nodes = kraft.spawn_brokers(run, install.kafka_libs(cache), arguments.brokers, access)
        servers = processes.recorded(run)
        kraft.wait_ready(nodes, servers)
        print(f"kafka: {len(nodes)} broker(s) ready after {time.monotonic() - begun:.1f} s")
        seaweed.wait_ready(port, servers)
        print(f"s3: ready after {time.monotonic() - begun:.1f} s")
    except BaseException:
        processes.stop_all(processes.recorded(run))
        raise
    environment = {
        **_environment([node.address for node in nodes], f"http://{processes.LOOPBACK}:{port}"),
        **_access(nodes, access),
        **_faults(run, nodes, arguments.store_disk_mib),
        # for the measurements beside Kafka's own tools
        "TOURBILLON_TEST_KAFKA_LIBS": str(install.kafka_libs(cache)),
    }
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in environment.items()]
    (run / "env").write_text("".join(lines))
    print(f"wrote {run / 'env'}")
    return 0


def _prepare(run: Path) -> None:
    """Makes RUN, or empties it of what an earlier start left there."""
    alive = [server.name for server in processes.recorded(run) if server.is_alive()]
    if alive:
        raise ServerError(f"{', '.join(alive)} of {run} still run: stop them first")
    run.mkdir(parents=True, exist_ok=True)
    seaweed.unmount(run)
    for entry in run.iterdir():
        if entry.is_dir() and entry.name.startswith(OWN_FOLDERS):
            shutil.rmtree(entry)
        elif entry.suffix == ".log":
            entry.unlink()
    for name in ("pids.json", "env"):
        (run / name).unlink(missing_ok=True)


def _environment(brokers: list[str], endpoint: str) -> dict[str, str]:
    return {
        "TOURBILLON_KAFKA": ",".join(brokers),
        "TOURBILLON_STORE": f"s3://{seaweed.BUCKET}/run-{uuid.uuid4().hex[:12]}",
        "AWS_ENDPOINT": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false",
        "AWS_CONDITIONAL_PUT": "etag",
    }


def _access(nodes: list[kraft.Node], access: kraft.Access) -> dict[str, str]:
    """For the tests of logins and TLS."""
    listeners = {
        f"TOURBILLON_TEST_{protocol}": ",".join(node.address_of(protocol) for node in nodes)
        for protocol in kraft.PROTOCOLS
    }
    return {
        **listeners,
        "TOURBILLON_TEST_USER": access.user,
        "TOURBILLON_TEST_PASSWORD": access.password,
        "TOURBILLON_TEST_CA": str(access.certificates.ca),
        "TOURBILLON_TEST_WRONG_CA": str(access.certificates.stranger),
    }


def _faults(run: Path, nodes: list[kraft.Node], disk_mib: int | None) -> dict[str, str]:
    """For the tests that break things: where this is run, and what they may stand between."""
    detours = (f"{node.detour_port}={node.ports[kraft.DETOUR]}" for node in nodes)
    disk = {} if disk_mib is None else {"TOURBILLON_TEST_STORE_DISK": str(run / "s3")}
    return {
        "TOURBILLON_TEST_SERVERS": str(run),
        "TOURBILLON_TEST_DETOURS": ",".join(detours),
        **disk,
    }


def _kill(arguments: argparse.Namespace) -> int:
    processes.kill(processes.named(arguments.run, arguments.names))
    return 0


def _signal(arguments: argparse.Namespace, number: signal.Signals) -> int:
    for server in processes.named(arguments.run, arguments.names):
        server.signal(number)
    return 0


def _again(arguments: argparse.Namespace) -> int:
    for server in processes.named(arguments.run, arguments.names):
        processes.again(arguments.run, server)
    return 0


def _restart(arguments: argparse.Namespace) -> int:
    for server in processes.named(arguments.run, arguments.names):
        processes.stop_all([replace(server, grace_s=RESTART_GRACE_S)])
        processes.again(arguments.run, server)
    return 0


def _stop(arguments: argparse.Namespace) -> int:
    servers = processes.recorded(arguments.run)
    alive = [server.name for server in servers if server.is_alive()]
    processes.stop_all(servers)
    seaweed.unmount(arguments.run)
    print(f"stopped: {', '.join(alive) or 'nothing was running'}")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    servers = processes.recorded(arguments.run)
    for server in servers:
        print(f"{server.name:10} pid {server.pid:<8} {'alive' if server.is_alive() else 'dead'}")
    return 0 if servers and all(server.is_alive() for server in servers) else 3


if __name__ == "__main__":
    sys.exit(main())
