"""The peer of benches: DuckDB or chDB answers a question about Parquet files, several times, in this
process, into Arrow.

Reads one JSON object, `Question` of peer.rs, and prints another: version, the times, ms, and what the
rows add up to in the order in which they came."""

import decimal
import json
import sys
import time

import numpy
import pyarrow
import pyarrow.compute

asked = json.load(sys.stdin)
PLACES = 65_521


def duckdb_asks():
    import duckdb

    source = f"read_parquet('{asked['files']}', hive_partitioning = false)"
    query = question(source, "{}::timestamptz_ns")
    connection = duckdb.connect()
    connection.execute("set enable_progress_bar = false")
    return duckdb.__version__, lambda: connection.sql(query).to_arrow_reader(8192)


def chdb_asks():
    import chdb

    query = question(f"file('{asked['files']}', Parquet)", "parseDateTime64BestEffort({}, 9)")
    return chdb.__version__, lambda: chdb.query(query, "ArrowTable").to_batches()


def question(source, stamp):
    conditions = ["true"]
    if asked["symbol"]:
        conditions.append(f"symbol = '{asked['symbol']}'")
    if asked["hlc"]:
        first, end = (stamp.format(f"'{text}'") for text in asked["hlc"])
        conditions.append(f"hlc >= {first} and hlc < {end}")
    where = " and ".join(conditions)
    return f"select {asked['columns']} from {source} where {where} order by hlc, writer"


def adds_up(batches):
    """Rows, their stamps by their places, the sum of their prices."""
    total, rows, prices = 0, 0, decimal.Decimal(0)
    decimal.getcontext().prec = 60
    for batch in batches:
        stamp = batch.column("hlc").cast(pyarrow.timestamp("ns", "UTC")).cast(pyarrow.int64()).to_numpy()
        place = numpy.arange(rows, rows + len(stamp)) % PLACES
        total += int((place * (stamp % PLACES)).sum())
        rows += len(stamp)
        prices += pyarrow.compute.sum(batch.column("price")).as_py() or 0
    return [str(rows), str(total), f"{prices:f}"]


version, ask = {"DuckDB": duckdb_asks, "chDB": chdb_asks}[asked["engine"]]()
times = []
for _ in range(asked["runs"] + 1):
    begun = time.perf_counter()
    for batch in ask():
        pass
    times.append((time.perf_counter() - begun) * 1e3)
print(json.dumps({"version": version, "times": times[1:], "proof": adds_up(ask())}))
