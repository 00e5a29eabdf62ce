"""The peer of benches: DuckDB or chDB answers a question about Parquet files, several times, in this
process, into Arrow.

Reads one JSON object, `Question` of peer.rs, and prints another: version, the times, ms, and what the
rows add up to in the order in which they came."""

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
    return duckdb.__version__, lambda: connection.sql(query).to_arrow_table()


def chdb_asks():
    import chdb

    query = question(f"file('{asked['files']}', Parquet)", "parseDateTime64BestEffort({}, 9)")
    return chdb.__version__, lambda: chdb.query(query, "ArrowTable")


def question(source, stamp):
    conditions = ["true"]
    if asked["symbol"]:
        conditions.append(f"symbol = '{asked['symbol']}'")
    if asked["hlc"]:
        first, end = (stamp.format(f"'{text}'") for text in asked["hlc"])
        conditions.append(f"hlc >= {first} and hlc < {end}")
    where = " and ".join(conditions)
    return f"select {asked['columns']} from {source} where {where} order by hlc, writer"


def adds_up(table):
    """Rows, their stamps by their places, the sum of their prices."""
    total, begun = 0, 0
    stamps = table.column("hlc")
    unit = {"us": 1000, "ns": 1}[stamps.type.unit]
    for chunk in stamps.chunks:
        stamp = chunk.cast(pyarrow.int64()).to_numpy() * unit
        place = numpy.arange(begun, begun + len(stamp)) % PLACES
        total += int((place * (stamp % PLACES)).sum())
        begun += len(stamp)
    price = pyarrow.compute.sum(table.column("price")).as_py()
    return [str(table.num_rows), str(total), f"{price:f}"]


version, ask = {"DuckDB": duckdb_asks, "chDB": chdb_asks}[asked["engine"]]()
times = []
for _ in range(asked["runs"] + 1):
    table = None
    begun = time.perf_counter()
    table = ask()
    times.append((time.perf_counter() - begun) * 1e3)
print(json.dumps({"version": version, "times": times[1:], "proof": adds_up(table)}))
