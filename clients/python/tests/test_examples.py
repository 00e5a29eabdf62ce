"""The examples, run as a reader of the repository would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from conftest import make_ticks, rows
from service import REPOSITORY, clean_environment, process, running

from tourbillon import Client

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def run(*command: str | Path) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_curl(url: str) -> None:
    told = run(EXAMPLES / "curl.sh", url)
    assert told.count('"accepted":2') == 2
    assert told.count('"symbol":"AAPL","price":187.150000000}') == 1
    assert "tourbillon-final: true" in told
    assert "event: rows" in told


@pytest.mark.parametrize("readme", ["README.md", "clients/python/README.md"])
def test_first_lines_of_the_readmes(url: str, readme: str) -> None:
    text = (REPOSITORY / readme).read_text("utf-8")
    code = text.split("```python\n", 1)[1].split("```", 1)[0]
    assert "http://127.0.0.1:8080" in code
    assert "AAPL" in run(sys.executable, "-c", code.replace("http://127.0.0.1:8080", url))


def _until_sealed(client: Client, stream: str, count: int) -> None:
    deadline = time.monotonic() + 60
    while sum(p.sealed_rows for p in client.partitions(stream).partitions) < count:
        assert time.monotonic() < deadline, client.partitions(stream)
        time.sleep(0.2)


def test_duckdb_reads_committed_files_once(tmp_path: Path) -> None:
    """Also while compacted files lie beside the segments that they replace."""
    with running(tmp_path, grace="1h") as url, Client(url) as client:
        stream = make_ticks(client, compaction="2s", window="500ms")
        for start in range(0, 80, 10):
            client.write(stream, rows(start, start + 10))
            time.sleep(0.5)
        _until_sealed(client, stream, 80)
        lake = tmp_path / "data" / "lake"
        paths = lake / stream / "data" / "**" / "*.parquet"
        glob = f"select count(*) from read_parquet('{paths}')"
        deadline = time.monotonic() + 60
        while duckdb.execute(glob).fetchall() == [(80,)]:
            assert time.monotonic() < deadline, "nothing was compacted"
            client.write(stream, {"symbol": "S0", "n": -1})
            time.sleep(0.3)
        stray = next((lake / stream / "data").rglob("*.parquet"))
        stray.with_name("p0-9-stray.parquet").write_bytes(stray.read_bytes())
        query = "select n from ticks where n >= 0 order by n"
        query = f"select count(*) as c, list(n) = range(80) as whole from ({query})"
        told = _duckdb(lake, stream, query)
        assert "│    80 │ true" in told, told


def _duckdb(store: str | Path, stream: str, query: str) -> str:
    return run(sys.executable, EXAMPLES / "duckdb_on_the_bucket.py", store, stream, query)


KAFKA = os.environ.get("TOURBILLON_KAFKA")


@pytest.mark.skipif(not KAFKA, reason="TOURBILLON_KAFKA names no broker")
def test_kafka_consumer_and_duckdb_on_a_cluster(tmp_path: Path) -> None:
    """Three processes on Kafka and S3: frames decode to the rows of the window, files too."""
    assert KAFKA is not None
    store = f"{os.environ['TOURBILLON_STORE']}/python-{time.time_ns()}"
    prefix = f"python-{time.time_ns()}"
    shared = {
        "TOURBILLON_KAFKA": KAFKA,
        "TOURBILLON_STORE": store,
        "TOURBILLON_TOPIC_PREFIX": prefix,
    }
    environment = clean_environment() | shared
    with (
        process("ingest", ["--gateway-name", prefix], tmp_path / "ingest.log", environment) as into,
        process("shard-worker", [], tmp_path / "worker.log", environment),
        process("query", [], tmp_path / "query.log", environment) as out,
        Client(into) as writing,
        Client(out) as reading,
    ):
        stream = make_ticks(writing)
        writing.write(stream, [{**row, "price": Decimal(row["n"]) / 8} for row in rows(0, 200)])
        writing.write(stream, [{**row, "at": row["n"]} for row in rows(200, 300)])
        writing.create_stream(stream, {"extra": "float64?"})
        writing.write(stream, [{**row, "extra": 0.5} for row in rows(300, 400)])
        # rows of one key have stamps without gaps, which frames do not spell
        receipts = writing.write(stream, [{**row, "symbol": "S1"} for row in rows(400, 420)])
        _until_sealed(reading, stream, 420)
        end = datetime.now(timezone.utc)
        window = reading.window(stream, end=end, wait="10s", at_least=receipts).to_arrow()
        told = run(
            sys.executable, EXAMPLES / "kafka_consumer.py", KAFKA, stream, "--prefix", prefix
        )
        count = "select count(distinct n) = 420 and count(*) = 420 as whole from ticks"
        assert "true" in _duckdb(store, stream, count)
    decoded = sorted(map(json.loads, told.splitlines()), key=lambda r: (r["hlc"], r["writer"]))
    assert [row["n"] for row in decoded] == window.column("n").to_pylist()
    stamps = window.column("hlc").cast("int64").to_pylist()
    assert [row["hlc"] for row in decoded] == stamps
    prices = [str(price) for price in window.column("price").to_pylist()]
    assert [str(row["price"]) for row in decoded] == prices
    assert [row.get("extra") for row in decoded] == window.column("extra").to_pylist()
