"""What is measured: how each is started, written to and asked for what it holds."""

import json
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import install
from market import Totals
from server import LOOPBACK, request

DATABASE = "peers"
OURS = "tourbillon"
# the rest of the machine is for what lies outside the heap: QuestDB maps its columns
QUESTDB_HEAP = "-Xmx2g"


@dataclass(frozen=True)
class System:
    """A server with one durability. `ports` are as many as it listens on; HTTP is the first."""

    name: str
    peer: str | None  # what has to be installed, None for ours
    durable: bool  # on disk, by its documentation, before it acknowledges
    promise: str  # which settings make it so, or what is missing
    ports: int
    argv: Callable[[Path, Path, list[int]], list[str]]  # of cache, folder, ports
    variables: Callable[[Path, list[int]], dict[str, str]]  # of folder, ports
    ready: str
    write: str
    totals: Callable[[str, str], Totals]  # of URL, table
    prepare: Callable[[str], None] = field(default=lambda _: None)


def tourbillon(binary: Path) -> System:
    def argv(_: Path, folder: Path, ports: list[int]) -> list[str]:
        listen = f"{LOOPBACK}:{ports[0]}"
        return [str(binary), "standalone", "--data", str(folder / "data"), "--listen", listen]

    return System(
        name=OURS,
        peer=None,
        durable=True,
        promise="default: the embedded log is written and flushed (fdatasync) before 204",
        ports=1,
        argv=argv,
        variables=lambda _folder, _ports: {},
        ready="/readyz",
        write="/write?precision=ns",
        totals=_tourbillon_totals,
    )


def influxdb() -> System:
    return System(
        name="influxdb",
        peer=install.INFLUXDB,
        durable=True,
        promise='wal-fsync-delay = "0s" (also the default): "fsyncs every write to the WAL"',
        ports=2,
        argv=lambda cache, _, __: [
            str(install.influxdb_binary(cache)),
            "run",
            "-config",
            "/dev/null",
        ],
        variables=_influxdb_variables,
        ready="/ping",
        write=f"/write?db={DATABASE}&precision=ns",
        totals=_influxdb_totals,
        prepare=_influxdb_prepare,
    )


def questdb(commit_mode: str) -> System:
    promises = {
        "sync": 'cairo.commit.mode=sync: "waits for flush to complete", WAL table',
        "nosync": "cairo.commit.mode=nosync (default): nothing is flushed before it answers",
    }

    def argv(cache: Path, folder: Path, _: list[int]) -> list[str]:
        java = ["java", QUESTDB_HEAP, "-XX:+UseParallelGC", "-p", str(install.questdb_jar(cache))]
        return [*java, "-m", "io.questdb/io.questdb.ServerMain", "-d", str(folder)]

    def variables(_: Path, ports: list[int]) -> dict[str, str]:
        off = ("PG", "LINE_TCP", "LINE_UDP", "HTTP_MIN", "TELEMETRY")
        return {
            "QDB_CAIRO_COMMIT_MODE": commit_mode,
            "QDB_HTTP_BIND_TO": f"{LOOPBACK}:{ports[0]}",
            "QDB_LOG_W_STDOUT_LEVEL": "ERROR",
            **{f"QDB_{service}_ENABLED": "false" for service in off},
        }

    return System(
        name=f"questdb, {commit_mode}",
        peer=install.QUESTDB,
        durable=commit_mode == "sync",
        promise=promises[commit_mode],
        ports=1,
        argv=argv,
        variables=variables,
        ready="/ping",
        write="/write?precision=n",
        totals=_questdb_totals,
    )


def victoria() -> System:
    def argv(cache: Path, folder: Path, ports: list[int]) -> list[str]:
        flags = {
            "storageDataPath": folder / "data",
            "httpListenAddr": f"{LOOPBACK}:{ports[0]}",
            "retentionPeriod": "100y",
            "loggerLevel": "ERROR",
        }
        binary = str(install.victoria_binary(cache))
        return [binary, *(f"-{name}={value}" for name, value in flags.items())]

    return System(
        name="victoria-metrics",
        peer=install.VICTORIA,
        durable=False,
        promise="no WAL and no setting for one; keeps no strings, and times in ms: less work",
        ports=1,
        argv=argv,
        variables=lambda _folder, _ports: {},
        ready="/health",
        write="/write?precision=ns",
        totals=_victoria_totals,
    )


def everything(binary: Path) -> list[System]:
    return [tourbillon(binary), influxdb(), questdb("sync"), questdb("nosync"), victoria()]


def _tourbillon_totals(url: str, table: str) -> Totals:
    sql = f"select count(*) n, sum(seq) q, sum(price) p, sum(size) s from {table}"
    asked = json.dumps({"query": sql}).encode()
    row = json.loads(request(f"{url}/v1/sql", asked, "application/json"))
    return Totals(int(row["n"]), int(row["q"] or 0), float(row["p"] or 0), float(row["s"] or 0))


def _questdb_totals(url: str, table: str) -> Totals:
    sql = f"select count(), sum(seq), sum(price), sum(size) from {table}"
    (row,) = _get(url, "/exec", query=sql)["dataset"]
    rows, seq, price, size = row
    return Totals(rows, seq or 0, price or 0.0, size or 0.0)


def _influxdb_variables(folder: Path, ports: list[int]) -> dict[str, str]:
    return {
        "INFLUXDB_HTTP_BIND_ADDRESS": f"{LOOPBACK}:{ports[0]}",
        "INFLUXDB_BIND_ADDRESS": f"{LOOPBACK}:{ports[1]}",
        "INFLUXDB_META_DIR": str(folder / "meta"),
        "INFLUXDB_DATA_DIR": str(folder / "data"),
        "INFLUXDB_DATA_WAL_DIR": str(folder / "wal"),
        "INFLUXDB_DATA_WAL_FSYNC_DELAY": "0s",
        "INFLUXDB_DATA_QUERY_LOG_ENABLED": "false",
        "INFLUXDB_HTTP_LOG_ENABLED": "false",
        "INFLUXDB_MONITOR_STORE_ENABLED": "false",
        "INFLUXDB_REPORTING_DISABLED": "true",
    }


def _influxdb_prepare(url: str) -> None:
    query = urllib.parse.urlencode({"q": f"create database {DATABASE}"})
    request(f"{url}/query?{query}", b"")


def _influxdb_totals(url: str, table: str) -> Totals:
    sums = "count(seq), sum(seq), sum(price), sum(size)"
    (result,) = _get(url, "/query", db=DATABASE, q=f"select {sums} from {table}")["results"]
    if not result.get("series"):
        return Totals(0, 0, 0.0, 0.0)
    _, rows, seq, price, size = result["series"][0]["values"][0]
    return Totals(rows, seq, price, size)


def _victoria_totals(url: str, table: str) -> Totals:
    request(f"{url}/internal/force_flush")

    def total(function: str, column: str) -> float:
        # an hour that holds every trade
        query = f"sum({function}({table}_{column}[1h]))"
        answer = _get(url, "/api/v1/query", query=query, time="1700001800", nocache="1")
        result = answer["data"]["result"]
        return float(result[0]["value"][1]) if result else 0.0

    rows, seq = total("count_over_time", "seq"), total("sum_over_time", "seq")
    sums = (total("sum_over_time", column) for column in ("price", "size"))
    return Totals(int(rows), int(seq), *sums)


def _get(url: str, path: str, **parameters: str) -> Any:
    return json.loads(request(f"{url}{path}?{urllib.parse.urlencode(parameters)}"))
