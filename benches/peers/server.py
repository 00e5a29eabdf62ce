"""A server in a folder of its own, and what it costs. Linux only: it reads `/proc`."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from install import PeerError

LOOPBACK = "127.0.0.1"
START_LIMIT_S = 180.0
STOP_LIMIT_S = 20.0
REQUEST_LIMIT_S = 60.0
POLL_S = 0.05
LOG_TAIL_LINES = 25
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
OURS = ("TOURBILLON_", "INFLUXDB_", "QDB_", "AWS_")


class Server:
    """A process that was started."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self._name = name
        self._process = process
        self._log = log

    def check_alive(self) -> None:
        if self._process.poll() is not None:
            tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
            raise PeerError(f"{self._name} ended with {self._process.returncode}:\n{tail}")

    def cpu_seconds(self) -> float:
        """User and system time of all its threads so far."""
        stat = Path(f"/proc/{self._process.pid}/stat").read_text()
        # the name, in brackets, may hold spaces and brackets
        fields = stat[stat.rindex(")") + 2 :].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND

    def most_memory_mib(self) -> int:
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) // 1024
        return 0

    def eventually(self, what: str, holds: Callable[[], bool], limit_s: float) -> float:
        """Seconds until `holds`, which may raise OSError meanwhile."""
        begun, reason = time.monotonic(), "it does not hold"
        while (took := time.monotonic() - begun) < limit_s:
            self.check_alive()
            try:
                if holds():
                    return took
            except OSError as error:
                reason = str(error)
            time.sleep(POLL_S)
        raise PeerError(f"{self._name}: {what}: {reason} after {limit_s:.0f} s")


@contextlib.contextmanager
def started(
    name: str, argv: Sequence[str], variables: dict[str, str], folder: Path
) -> Iterator[Server]:
    """Starts a process in an empty folder; at the end it is stopped and the folder removed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    log = folder / "log"
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(OURS)}
    with log.open("wb") as out:
        process = subprocess.Popen(
            list(argv),
            cwd=folder,
            env=inherited | variables,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            # Linux shares cores out by session: this one must not live on the client's share
            start_new_session=True,
        )
    try:
        yield Server(name, process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Distinct ports of 127.0.0.1 that nobody listens on."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((LOOPBACK, 0))
        return [probe.getsockname()[1] for probe in probes]


def request(url: str, body: bytes | None = None, content_type: str = "text/plain") -> bytes:
    """The answer to a GET, or to a POST where there is a body; anything but 2xx is an OSError."""
    asked = urllib.request.Request(url, data=body, headers={"content-type": content_type})
    try:
        with urllib.request.urlopen(asked, timeout=REQUEST_LIMIT_S) as answer:
            content: bytes = answer.read()
            return content
    except urllib.error.HTTPError as error:
        told = error.read().decode(errors="replace")
        raise OSError(f"{url} answers {error.code}: {told[:500]}") from error
