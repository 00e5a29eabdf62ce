"""Checks docker-compose.yml and deploy/, with the real haproxy, promtool and our own binary.

    python3 tests/deploy/check.py --tourbillon target/release/tourbillon [--need-all]

Prints a line a check: `ok`, `skipped` with the reason, or `WRONG` with what is. run.sh fetches the
tools. Exit codes: 0 nothing is wrong, 1 something is, or was skipped with --need-all.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import balance
import files
import measures
import processes
from deployment import Deployment

ROOT = Path(__file__).resolve().parents[2]

Check = Callable[[], Iterable[str]]


def main() -> int:
    parser = argparse.ArgumentParser(description="Checks the files that deploy.")
    parser.add_argument("--tourbillon", required=True)
    parser.add_argument("--need-all", action="store_true")
    arguments = parser.parse_args()
    deployment = Deployment(ROOT)
    passed = [
        run(what, tool, check, arguments.need_all)
        for what, tool, check in checks(deployment, arguments.tourbillon)
    ]
    return 0 if all(passed) else 1


def checks(deployment: Deployment, tourbillon: str) -> list[tuple[str, str | None, Check]]:
    """What is checked, and the tool that it needs."""
    return [
        ("schema of docker-compose.yml", "check-jsonschema", lambda: files.schema(deployment)),
        ("hosts and ports", None, lambda: files.addresses(deployment)),
        ("every process balanced and scraped", None, lambda: files.completeness(deployment)),
        ("mounts, volumes, dependencies", None, lambda: files.mounts(deployment)),
        ("what the image is built with", None, lambda: files.image(deployment)),
        ("haproxy.cfg", "haproxy", lambda: files.balancer(deployment)),
        ("prometheus.yml, rules, panels", "promtool", lambda: files.prometheus(deployment)),
        ("alerts, each both ways", "promtool", lambda: files.alerts(deployment)),
        ("metrics are declared", None, lambda: measures.names(deployment, ROOT)),
        ("variables", None, lambda: processes.variables(deployment, tourbillon)),
        ("commands", None, lambda: processes.commands(deployment, tourbillon)),
        (
            "metrics of a running service, with labels",
            None,
            lambda: exported(deployment, tourbillon),
        ),
        ("requests through the balancer", "haproxy", lambda: through(deployment, tourbillon)),
    ]


def exported(deployment: Deployment, tourbillon: str) -> Iterable[str]:
    with tempfile.TemporaryDirectory() as folder:
        with processes.standalone(deployment, tourbillon, Path(folder)) as url:
            measures.work(url)
            page = processes.request(f"{url}/metrics")[1]
    yield from measures.labels(deployment, measures.scraped(page))


def through(deployment: Deployment, tourbillon: str) -> Iterable[str]:
    with tempfile.TemporaryDirectory() as folder:
        with processes.standalone(deployment, tourbillon, Path(folder)) as url:
            yield from balance.balance(deployment, url, Path(folder))


def run(what: str, tool: str | None, check: Check, need_all: bool) -> bool:
    if tool and not shutil.which(tool):
        print(f"skipped: {what}: {tool} is not on the path (tests/deploy/run.sh fetches it)")
        return not need_all
    begun = time.monotonic()
    try:
        wrong = list(check())
    except processes.NotStarted as error:
        wrong = [str(error)]
    for line in wrong:
        print(f"WRONG: {what}: {line}")
    if not wrong:
        print(f"ok: {what} ({time.monotonic() - begun:.1f} s)")
    return not wrong


if __name__ == "__main__":
    sys.exit(main())
