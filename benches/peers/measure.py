"""One run of one system: started empty, warmed up, measured, counted."""

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from install import PeerError
from load import send
from market import Feed
from server import LOOPBACK, START_LIMIT_S, Server, free_ports, request, started
from systems import System

TABLE, WARM_TABLE = "trades", "warmup"
COUNT_LIMIT_S = 60.0


@dataclass(frozen=True)
class Setup:
    """What is the same for every system."""

    cache: Path
    folder: Path
    warm: Feed
    feed: Feed
    in_flight: int
    settle_s: float


@dataclass(frozen=True)
class Run:
    """Figures of one run; all rows were there, with their values."""

    seconds: float
    rows_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_s: float  # of the server until the last answer
    cpu_settled_s: float  # and with what it does afterwards
    readable_s: float  # after the last answer, until a query finds every row
    memory_mib: int


def run(system: System, setup: Setup, server_cores: str | None = None) -> Run:
    """`server_cores` is what taskset takes; the caller has pinned itself elsewhere."""
    ports = free_ports(system.ports)
    folder = setup.folder / "server"
    argv = system.argv(setup.cache, folder, ports)
    if server_cores is not None:
        argv = ["taskset", "--cpu-list", server_cores, *argv]
    url = f"http://{LOOPBACK}:{ports[0]}"
    with started(system.name, argv, system.variables(folder, ports), folder) as server:
        server.eventually("ready", lambda: _answers(url + system.ready), START_LIMIT_S)
        system.prepare(url)
        send(ports[0], system.write, setup.warm.bodies, setup.in_flight)
        _complete(system, server, url, WARM_TABLE, setup.warm)
        return _measured(system, server, ports[0], url, setup)


def _measured(system: System, server: Server, port: int, url: str, setup: Setup) -> Run:
    cpu = server.cpu_seconds()
    sent = send(port, system.write, setup.feed.bodies, setup.in_flight)
    ended, cpu_sent = time.monotonic(), server.cpu_seconds() - cpu
    readable = _complete(system, server, url, TABLE, setup.feed)
    time.sleep(max(0.0, setup.settle_s - (time.monotonic() - ended)))
    return Run(
        seconds=sent.seconds,
        rows_per_s=setup.feed.totals.rows / sent.seconds,
        p50_ms=1000 * percentile(sent.requests, 50),
        p99_ms=1000 * percentile(sent.requests, 99),
        cpu_s=cpu_sent,
        cpu_settled_s=server.cpu_seconds() - cpu,
        readable_s=readable,
        memory_mib=server.most_memory_mib(),
    )


def _complete(system: System, server: Server, url: str, table: str, feed: Feed) -> float:
    """Waits until every row is there; a wrong sum, or a row too many, is never waited out."""

    def complete() -> bool:
        found = system.totals(url, table)
        if found.rows < feed.totals.rows:
            raise OSError(f"{found.rows} of {feed.totals.rows} rows")
        if not found.is_about(feed.totals):
            raise PeerError(f"{system.name} holds {found}, and was sent {feed.totals}")
        return True

    return server.eventually(f"all rows of {table}", complete, COUNT_LIMIT_S)


def _answers(url: str) -> bool:
    request(url)
    return True


def percentile(ordered: list[float], percent: float) -> float:
    """Nearest rank."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def disk_floor(setup: Setup) -> float:
    """Rows a second if each body were only written to one file and flushed."""
    setup.folder.mkdir(parents=True, exist_ok=True)
    file = setup.folder / "floor"
    begun = time.perf_counter()
    with file.open("wb", buffering=0) as out:
        for body in setup.feed.bodies:
            out.write(body)
            os.fdatasync(out.fileno())
    took = time.perf_counter() - begun
    file.unlink()
    return setup.feed.totals.rows / took


@contextmanager
def client_on(cores: set[int]) -> Iterator[None]:
    """Pins this process, and so all threads that it starts meanwhile."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
