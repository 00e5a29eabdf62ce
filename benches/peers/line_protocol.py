"""Line protocol beside InfluxDB and QuestDB: the same bodies, each acknowledgement as durable.

    cargo build --release -p tourbillon-cli
    python3 benches/peers/line_protocol.py --tourbillon target/release/tourbillon \\
        --cache .ci/cache/peers --rows 2000000 --runs 5 --report FILE.json

Fetches the peers into the cache (Maven, apt), starts one system at a time on an empty folder below
the cache, warms it up on another table, sends the bodies on eight connections, and lets a time count
only if a query then finds every row and the sums of its columns. Runs of the systems alternate. Then
the same with the server on core 0 and the client on core 1. Each system waits `--settle` seconds
after its rows, for what it does late: windows sealed, logs applied, files compacted.
Needs Linux, Python 3.11, Java 17, mvn, apt-get and dpkg. Exit codes: 0 measured (whatever the
verdict), 1 failed, or a run did, 2 usage; with `--check` 3 where a target is missed.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import install
from install import PeerError
from market import Market
from measure import TABLE, WARM_TABLE, Run, Setup, client_on, disk_floor, run
from report import Results, as_json, lines, verdicts
from systems import System, everything

SEED = 7
MISSED, INTERRUPTED = 3, 130


def main() -> int:
    arguments = _parse()
    # ends like ctrl-C, so that no server stays behind
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        results = _measure(arguments)
    except PeerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    print("\n".join(["", *lines(results)]))
    if arguments.report:
        told = as_json(results, _conditions(arguments, results))
        arguments.report.write_text(json.dumps(told, indent=1) + "\n")
    missed = [verdict for verdict in verdicts(results) if not verdict.passes]
    if results.failed:
        return 1
    return MISSED if arguments.check and missed else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Line protocol beside InfluxDB and QuestDB.")
    parser.add_argument("--tourbillon", type=_path, required=True, help="the release binary")
    parser.add_argument("--cache", type=_path, required=True)
    parser.add_argument("--rows", type=_positive, default=2_000_000)
    parser.add_argument("--warm-rows", type=_positive, default=1_000_000)
    parser.add_argument("--runs", type=_positive, default=5)
    parser.add_argument("--pinned-runs", type=int, default=3, help="0: none")
    parser.add_argument("--in-flight", type=_positive, default=8)
    parser.add_argument("--settle", type=float, default=15.0)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="systems, by the start of a name")
    parser.add_argument("--report", type=_path, metavar="FILE")
    parser.add_argument("--check", action="store_true", help="exit with 3 if a target is missed")
    return parser.parse_args()


def _path(text: str) -> Path:
    return Path(text).resolve()


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return number


def _measure(arguments: argparse.Namespace) -> Results:
    if not arguments.tourbillon.exists():
        raise PeerError(f"{arguments.tourbillon} is not there: cargo build --release")
    chosen = [s for s in everything(arguments.tourbillon) if _chosen(s, arguments.only)]
    needed = {system.peer for system in chosen if system.peer}
    versions, missing = install.install(arguments.cache, needed)
    for name, version in versions.items():
        print(f"{name} {version}")
    systems = [system for system in chosen if system.peer not in missing]
    results = Results(systems, missing, versions)
    setup = _setup(arguments)
    try:
        _rounds(arguments, results, setup)
    finally:
        shutil.rmtree(setup.folder, ignore_errors=True)
    return results


def _rounds(arguments: argparse.Namespace, results: Results, setup: Setup) -> None:
    for round_ in range(arguments.runs):
        results.floor.append(disk_floor(setup))
        _round(results, results.whole, round_, setup, None)
    if arguments.pinned_runs and len(os.sched_getaffinity(0)) > 1:
        with client_on({1}):
            for round_ in range(arguments.pinned_runs):
                _round(results, results.pinned, round_, setup, "0")


def _chosen(system: System, names: list[str] | None) -> bool:
    return names is None or any(system.name.startswith(name) for name in names)


def _setup(arguments: argparse.Namespace) -> Setup:
    warm = Market(SEED + 1).feed(WARM_TABLE, arguments.warm_rows)
    feed = Market(SEED).feed(TABLE, arguments.rows)
    print(f"{len(feed.bodies)} bodies, {feed.bytes / feed.totals.rows:.0f} B a row", flush=True)
    folder = arguments.cache / f"run-{os.getpid()}"
    return Setup(arguments.cache, folder, warm, feed, arguments.in_flight, arguments.settle)


def _round(
    results: Results,
    runs: dict[str, list[Run]],
    round_: int,
    setup: Setup,
    server_cores: str | None,
) -> None:
    """Each system once; each round begins with another. A run that fails is told, not repeated."""
    first = round_ % max(len(results.systems), 1)
    where = "" if server_cores is None else f" on core {server_cores}"
    for system in [*results.systems[first:], *results.systems[:first]]:
        try:
            done = run(system, setup, server_cores)
        except PeerError as error:
            results.failed.append(f"{system.name}{where}: {error}")
            print(f"FAILED {results.failed[-1]}", flush=True)
            continue
        runs.setdefault(system.name, []).append(done)
        rate = f"{done.rows_per_s / 1e6:.3f} M rows/s, {done.cpu_s:.2f} CPU s"
        print(f"{system.name}{where}: {rate}", flush=True)


def _conditions(arguments: argparse.Namespace, results: Results) -> dict[str, Any]:
    ours = subprocess.run(
        [str(arguments.tourbillon), "--version"], check=False, capture_output=True, text=True
    )
    return {
        "rows": arguments.rows,
        "warm_rows": arguments.warm_rows,
        "in_flight": arguments.in_flight,
        "settle_s": arguments.settle,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "load_average": os.getloadavg(),
        "versions": {"tourbillon": ours.stdout.strip(), **results.versions},
    }


if __name__ == "__main__":
    sys.exit(main())
