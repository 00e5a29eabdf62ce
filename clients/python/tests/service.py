"""A service of its own for the tests: one process, a folder that is thrown away."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tourbillon import Client

REPOSITORY = Path(__file__).resolve().parents[3]
DATA = Path(os.environ.get("TOURBILLON_TEST_DATA") or REPOSITORY.parent / "shared" / "data")
BINARY = Path(os.environ.get("TOURBILLON_TEST_BINARY") or REPOSITORY / "target/release/tourbillon")

START_S = 60.0
STOP_S = 30.0
_LISTENS = re.compile(r"listens address=(\S+)")


@contextmanager
def running(folder: Path, grace: str = "1s") -> Iterator[str]:
    """The address of a service whose data is in `folder`. A short grace lets retention be seen."""
    settings = ["--data", str(folder / "data"), "--grace", grace]
    with process("standalone", settings, folder / "log", clean_environment()) as url:
        yield url


def clean_environment() -> dict[str, str]:
    """Without the settings of services that the tests themselves were started with."""
    return {k: v for k, v in os.environ.items() if not k.startswith("TOURBILLON_")}


@contextmanager
def process(
    role: str, settings: list[str], log: Path, environment: dict[str, str]
) -> Iterator[str]:
    """The address of one process of the service."""
    if not BINARY.is_file():
        raise FileNotFoundError(
            f"no binary at {BINARY}: cargo build --release, or set TOURBILLON_TEST_BINARY"
        )
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [str(BINARY), role, "--listen", "127.0.0.1:0", *settings]
    with (
        log.open("wb") as out,
        subprocess.Popen(command, stdout=out, stderr=out, env=environment) as started,
    ):
        try:
            yield _address(started, log)
        finally:
            started.send_signal(signal.SIGTERM)
            try:
                started.wait(STOP_S)
            except subprocess.TimeoutExpired:
                started.kill()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        match = _LISTENS.search(log.read_text(errors="replace"))
        if match is not None:
            url = f"http://{match[1]}"
            with Client(url, timeout_s=5) as client:
                if client.is_ready():
                    return url
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise RuntimeError(f"the service did not start: {log.read_text(errors='replace')[-2000:]}")
