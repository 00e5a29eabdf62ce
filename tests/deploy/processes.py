"""Our binary, started as the files start it, on ports of this machine."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from deployment import Deployment

LOOPBACK = "127.0.0.1"
START_LIMIT_S = 20
STOP_LIMIT_S = 15
POLL_S = 0.05
# nobody listens there
NOWHERE = f"{LOOPBACK}:1"


class NotStarted(Exception):
    """A process that ended or does not answer; the text says what it wrote."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return probe.getsockname()[1]


def request(
    url: str, method: str = "GET", body: str | None = None, **headers: str
) -> tuple[int, str]:
    """Status and text of an answer."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    data = None if body is None else body.encode()
    asked = urllib.request.Request(url, data=data, method=method, headers=named)
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def eventually(what: str, holds: Callable[[], bool], limit_s: float = START_LIMIT_S) -> None:
    deadline = time.monotonic() + limit_s
    while True:
        with contextlib.suppress(OSError):
            if holds():
                return
        if time.monotonic() > deadline:
            raise NotStarted(f"{what}: not within {limit_s:.0f} s")
        time.sleep(POLL_S)


@contextlib.contextmanager
def started(command: list[str], variables: dict[str, str], log: Path) -> Iterator[subprocess.Popen]:
    """A process with these variables and no others of ours, ended at the end."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("TOURBILLON_", "AWS_"))}
    with log.open("w") as out:
        process = subprocess.Popen(
            command,
            env=inherited | variables,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(process: subprocess.Popen, url: str, log: Path) -> None:
    """Waits until a process answers, or says why it ended."""

    def holds() -> bool:
        if process.poll() is not None:
            raise NotStarted(f"it ended with {process.returncode}: {log.read_text().strip()}")
        return request(url)[0] == 200

    eventually(f"{url} answers", holds)


def commands(deployment: Deployment, tourbillon: str) -> Iterator[str]:
    """Every process of docker-compose.yml starts with its arguments and variables, and says that it
    waits for Kafka."""
    with tempfile.TemporaryDirectory() as folder:
        for name, service in deployment.own.items():
            port, log = free_port(), Path(folder) / name
            variables = elsewhere(deployment.environment(name))
            variables["TOURBILLON_LISTEN"] = f"{LOOPBACK}:{port}"
            command = [tourbillon, *service["command"]]
            try:
                with started(command, variables, log) as process:
                    answers(process, f"http://{LOOPBACK}:{port}/healthz", log)
                    waits_for_kafka(f"http://{LOOPBACK}:{port}/readyz")
                    process.kill()
            except NotStarted as error:
                yield f"{name}: {error}"


def waits_for_kafka(url: str) -> None:
    def says_so() -> bool:
        status, told = request(url)
        return status == 503 and "Kafka" in told

    eventually("/readyz is 503 because of Kafka", says_so)


def elsewhere(variables: dict[str, str]) -> dict[str, str]:
    """The same with every host and port where nobody listens."""
    hosts = re.compile(r"(^|[@/,])[a-z0-9][a-z0-9.-]*:\d+")
    return {key: hosts.sub(rf"\g<1>{NOWHERE}", value) for key, value in variables.items()}


def variables(deployment: Deployment, tourbillon: str) -> Iterator[str]:
    """Every variable is one that our binary reads. Those of the store are what the cluster tests
    start our processes with."""
    known = set()
    for role in {deployment.role(name) for name in deployment.own}:
        told = subprocess.run(
            [tourbillon, role, "--help"], check=True, capture_output=True, text=True
        )
        known |= set(re.findall(r"\[env: (\w+)", told.stdout))
    tests = (Path(__file__).parents[1] / "cluster/servers.py").read_text()
    known |= set(re.findall(r'"(AWS_\w+)"', tests))
    for name in deployment.own:
        for unknown in sorted(set(deployment.environment(name)) - known):
            yield f"docker-compose.yml: nothing reads {unknown} of {name}"


@contextlib.contextmanager
def standalone(deployment: Deployment, tourbillon: str, folder: Path) -> Iterator[str]:
    """What the image runs by itself, on a folder here; its URL."""
    command = [tourbillon, *deployment.image_command]
    place = command.index("--data") + 1
    if not command[place].startswith("/var/lib/tourbillon/"):
        raise NotStarted(f"the image keeps its data in {command[place]}, outside its volume")
    command[place] = str(folder / "data")
    port, log = free_port(), folder / "standalone.log"
    listens = {"TOURBILLON_LISTEN": f"{LOOPBACK}:{port}"}
    with started(command, listens, log) as process:
        url = f"http://{LOOPBACK}:{port}"
        answers(process, f"{url}/readyz", log)
        yield url
