"""Free ports, background processes that outlive this one, and the record of them.

`RUN/pids.json` names every process by pid and start time, so that `stop` never kills a stranger
that was given an old pid. Linux only: it reads `/proc`.
"""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

# below the range that Linux takes outgoing ports from, so a free port stays free
PORT_RANGE = range(20_000, 32_000)
LOOPBACK = "127.0.0.1"
LOG_TAIL_LINES = 25
POLL_S = 0.1
KILL_LIMIT_S = 10.0


class ServerError(Exception):
    """A server that did not start, or a machine that lacks something; the text is for people."""


@dataclass(frozen=True)
class Server:
    """A process that was started. It may take `grace_s` to end; `litter` are files it leaves."""

    name: str
    pid: int
    started_ticks: int
    log: str
    argv: list[str]
    grace_s: float
    litter: list[str]

    def is_alive(self) -> bool:
        return _started_ticks(self.pid) == self.started_ticks

    def signal(self, number: signal.Signals) -> None:
        if self.is_alive():
            with contextlib.suppress(ProcessLookupError):  # it may end by itself right now
                os.kill(self.pid, number)

    def log_tail(self) -> str:
        lines = Path(self.log).read_text(errors="replace").splitlines()
        return "\n".join(lines[-LOG_TAIL_LINES:])


def free_ports(count: int) -> list[int]:
    """Distinct ports of 127.0.0.1 that nobody listens on."""
    ports: list[int] = []
    for port in random.sample(PORT_RANGE, len(PORT_RANGE)):
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        ports.append(port)
        if len(ports) == count:
            return ports
    raise ServerError(f"there are no {count} free ports")


def spawn(
    run: Path, name: str, argv: Sequence[str], grace_s: float, litter: Sequence[str] = ()
) -> Server:
    """Starts a process in RUN/name, in its own session, and records it; logs to RUN/name.log."""
    log = run / f"{name}.log"
    with log.open("ab") as out:
        child = subprocess.Popen(
            list(argv),
            cwd=run / name,
            # the store would take a client's keys for its own
            env={key: value for key, value in os.environ.items() if not key.startswith("AWS_")},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    ticks = _started_ticks(child.pid)
    server = Server(
        name=name,
        pid=child.pid,
        started_ticks=-1 if ticks is None else ticks,
        log=str(log),
        argv=list(argv),
        grace_s=grace_s,
        litter=list(litter),
    )
    record(run, [*(other for other in recorded(run) if other.name != name), server])
    return server


def named(run: Path, names: Sequence[str]) -> list[Server]:
    """The recorded processes of these names."""
    known = {server.name: server for server in recorded(run)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ServerError(f"no {', '.join(unknown)} in {run}: it has {', '.join(known)}")
    return [known[name] for name in names]


def kill(servers: Sequence[Server]) -> None:
    """SIGKILL to all at once; returns when they are gone."""
    for server in servers:
        server.signal(signal.SIGKILL)
    _until_gone(servers)


def again(run: Path, server: Server) -> None:
    """Starts a process that has ended as it was started before, on the same data and ports."""
    if server.is_alive():
        raise ServerError(f"{server.name} still runs")
    spawn(run, server.name, server.argv, server.grace_s, server.litter)


def recorded(run: Path) -> list[Server]:
    """Every process that `start` recorded, alive or not."""
    file = run / "pids.json"
    if not file.exists():
        return []
    try:
        return [Server(**entry) for entry in json.loads(file.read_text())]
    except (TypeError, ValueError) as error:
        raise ServerError(f"{file} is damaged or of another version: {error}") from error


def record(run: Path, servers: Sequence[Server]) -> None:
    whole = run / "pids.json.new"
    whole.write_text(json.dumps([asdict(server) for server in servers], indent=1) + "\n")
    whole.rename(run / "pids.json")


def stop_all(servers: Sequence[Server]) -> None:
    """SIGTERM to all at once, SIGKILL to each that outlives its grace."""
    for server in servers:
        server.signal(signal.SIGTERM)
    begun = time.monotonic()
    while left := [server for server in servers if server.is_alive()]:
        late = [server for server in left if time.monotonic() - begun > server.grace_s]
        if late:
            kill(late)
        time.sleep(POLL_S)
    for server in servers:
        for file in server.litter:
            Path(file).unlink(missing_ok=True)


def _until_gone(servers: Sequence[Server]) -> None:
    begun = time.monotonic()
    while left := [server for server in servers if server.is_alive()]:
        if time.monotonic() - begun > KILL_LIMIT_S:
            raise ServerError(f"{left[0].name} ({left[0].pid}) is still alive after SIGKILL")
        time.sleep(POLL_S)


def wait_until(
    what: str, ready: Callable[[], bool], servers: Sequence[Server], limit_s: float
) -> None:
    """Polls `ready`, which may raise OSError meanwhile, while the servers it needs live."""
    deadline = time.monotonic() + limit_s
    reason = "it is not ready"
    while True:
        try:
            if ready():
                return
        except (OSError, EOFError) as error:
            reason = str(error)
        dead = [server for server in servers if not server.is_alive()]
        if dead:
            raise ServerError(f"{dead[0].name} ended; its log ends with:\n{dead[0].log_tail()}")
        if time.monotonic() > deadline:
            tails = "\n".join(f"--- {server.name}\n{server.log_tail()}" for server in servers)
            raise ServerError(f"{what}: {reason} after {limit_s:.0f} s\n{tails}")
        time.sleep(POLL_S)


def _started_ticks(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot; None if there is none or it is dead."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # the name, in brackets, may hold spaces and brackets
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[19])
