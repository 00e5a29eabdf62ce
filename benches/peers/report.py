"""Medians, ratios and what they are held against, as a table and as JSON."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from statistics import median
from typing import Any

from measure import Run
from systems import OURS, System

LEAST_RATIO = 2.0
LEAST_PER_CORE = 1_000_000


@dataclass
class Results:
    """Runs by system, in the order of measurement: on all cores, and with the server on one."""

    systems: list[System]
    missing: dict[str, str]
    versions: dict[str, str] = field(default_factory=dict)
    whole: dict[str, list[Run]] = field(default_factory=dict)
    pinned: dict[str, list[Run]] = field(default_factory=dict)
    floor: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def rate(self, runs: dict[str, list[Run]], name: str) -> float:
        return median(run.rows_per_s for run in runs[name])

    def fastest_peer(self, runs: dict[str, list[Run]]) -> str | None:
        """Of those that are as durable as we are."""
        peers = [s.name for s in self.systems if s.peer and s.durable and s.name in runs]
        return max(peers, key=lambda name: self.rate(runs, name), default=None)


@dataclass(frozen=True)
class Verdict:
    what: str
    measured: float | None
    least: float

    @property
    def passes(self) -> bool:
        return self.measured is not None and self.measured >= self.least

    def __str__(self) -> str:
        if self.measured is None:
            return f"{self.what}: not measured"
        if self.passes:
            return f"{self.what}: {self.measured:.3g}, at least {self.least:.3g}: PASS"
        lacks = f"{100 * (1 - self.measured / self.least):.0f} % short"
        return f"{self.what}: {self.measured:.3g}, at least {self.least:.3g}: {lacks}"


def verdicts(results: Results) -> list[Verdict]:
    found = []
    for title, runs in (("", results.whole), (", server on one core", results.pinned)):
        peer = results.fastest_peer(runs)
        ratio = None
        if peer and OURS in runs:
            ratio = results.rate(runs, OURS) / results.rate(runs, peer)
        against = f"the faster durable peer ({peer})" if peer else "durable peers"
        found.append(Verdict(f"{OURS} / {against}{title}", ratio, LEAST_RATIO))
    pinned = results.rate(results.pinned, OURS) if OURS in results.pinned else None
    found.append(Verdict("M rows/s on one core", _millions(pinned), _millions(LEAST_PER_CORE)))
    return found


def _millions(value: float | None) -> Any:
    return None if value is None else value / 1e6


def lines(results: Results) -> Iterator[str]:
    for title, runs in (
        ("all cores", results.whole),
        ("server on core 0, client on core 1", results.pinned),
    ):
        if runs:
            yield from _table(title, results, runs)
            yield ""
    if results.floor:
        floor = median(results.floor) / 1e6
        yield f"the same bytes written and flushed to one file, body by body: {floor:.3f} M rows/s"
    for name, reason in results.missing.items():
        yield f"{name} could not be had: {reason}"
    yield from (f"a run failed and does not count: {failure}" for failure in results.failed)
    for system in results.systems:
        yield f"{system.name}: {system.promise}"
    yield ""
    yield from map(str, verdicts(results))


def _table(title: str, results: Results, runs: dict[str, list[Run]]) -> Iterator[str]:
    yield (
        f"| {title} | durable ack | M rows/s | runs | p50 / p99 ms | cores busy | "
        "M rows per CPU s (settled) | readable after s | MiB |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for system in results.systems:
        if system.name in runs:
            yield _row(system, runs[system.name])


def _row(system: System, runs: list[Run]) -> str:
    def middle(name: str) -> float:
        return median(float(getattr(run, name)) for run in runs)

    rows = median(run.rows_per_s * run.seconds for run in runs)
    each = " ".join(f"{run.rows_per_s / 1e6:.3f}" for run in runs)
    busy = median(run.cpu_s / run.seconds for run in runs)
    per_cpu = [rows / 1e6 / max(middle(name), 0.01) for name in ("cpu_s", "cpu_settled_s")]
    return (
        f"| {system.name} | {'yes' if system.durable else 'no'} "
        f"| {middle('rows_per_s') / 1e6:.3f} | {each} "
        f"| {middle('p50_ms'):.0f} / {middle('p99_ms'):.0f} | {busy:.2f} "
        f"| {per_cpu[0]:.2f} ({per_cpu[1]:.2f}) | {middle('readable_s'):.1f} "
        f"| {middle('memory_mib'):.0f} |"
    )


def as_json(results: Results, conditions: dict[str, Any]) -> dict[str, Any]:
    def of(runs: dict[str, list[Run]]) -> dict[str, Any]:
        return {
            name: {
                "median": {
                    figure.name: median(getattr(run, figure.name) for run in those)
                    for figure in fields(Run)
                },
                "runs": [asdict(run) for run in those],
            }
            for name, those in runs.items()
        }

    return {
        "conditions": conditions,
        "durability": {
            system.name: {"durable": system.durable, "promise": system.promise}
            for system in results.systems
        },
        "missing": results.missing,
        "failed": results.failed,
        "all_cores": of(results.whole),
        "one_core": of(results.pinned),
        "disk_floor_rows_per_s": results.floor,
        "verdicts": [
            {
                "what": verdict.what,
                "measured": verdict.measured,
                "least": verdict.least,
                "pass": verdict.passes,
            }
            for verdict in verdicts(results)
        ],
    }
