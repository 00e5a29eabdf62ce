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
def running(folder: Path) -> Iterator[str]:
    """The address of a service whose data is in `folder`."""
    if not BINARY.is_file():
        raise FileNotFoundError(
            f"no binary at {BINARY}: cargo build --release, or set TOURBILLON_TEST_BINARY"
        )
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log"
    # with a short grace, retention can be seen to work
    settings = ["--data", str(folder / "data"), "--listen", "127.0.0.1:0", "--grace", "1s"]
    command = [str(BINARY), "standalone", *settings]
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            yield _address(process, log)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()


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
