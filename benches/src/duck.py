"""The peer of benches: DuckDB answers a question about Parquet files, several times.

Arguments: glob of the files, symbol, columns, runs. Prints one JSON object: version, the times, ms,
and what the rows add up to."""

import json
import sys
import time

import duckdb

files, symbol, columns, runs = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
duck = duckdb.connect()
source = f"read_parquet('{files}', hive_partitioning = false)"
asked = f"select {columns} from {source} where symbol = ? order by hlc, writer"
times = []
for _ in range(runs + 1):
    begun = time.perf_counter()
    found = duck.execute(asked, [symbol])
    table = (getattr(found, "to_arrow_table", None) or found.fetch_arrow_table)()
    times.append((time.perf_counter() - begun) * 1e3)
proof = duck.execute(
    f"select count(*), sum(seq), sum(seq * seq % 1000003), sum(price) from {source} where symbol = ?",
    [symbol],
).fetchone()
assert table.num_rows == proof[0], (table.num_rows, proof)
print(json.dumps({"version": duckdb.__version__, "times": times[1:], "proof": [str(v) for v in proof]}))
