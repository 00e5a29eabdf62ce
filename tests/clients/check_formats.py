"""One window in three formats, read by four libraries, row for row the same.

    python3 tests/clients/check_formats.py --url http://127.0.0.1:8080 --stream trades

pyarrow's reading of the Arrow stream is what the others are compared with: decimals to the last
digit, times to the nanosecond. Exit codes: 0 all agree, 1 not, 2 usage.
"""

import argparse
import io
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv

import windows
from windows import ARROW, CSV, PARQUET, Kind, Mismatch, Rows

Reader = Callable[[bytes, pa.Schema], pa.Table]


def pyarrow_csv(body: bytes, schema: pa.Schema) -> pa.Table:
    options = pa.csv.ConvertOptions(
        column_types=schema, strings_can_be_null=True, quoted_strings_can_be_null=False
    )
    return pa.csv.read_csv(io.BytesIO(body), convert_options=options)


def duckdb_arrow(body: bytes, schema: pa.Schema) -> pa.Table:
    answer = pa.ipc.open_stream(body).read_all()
    return duckdb.connect().from_arrow(answer).to_arrow_table()


def duckdb_file(body: bytes, query: str) -> pa.Table:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "window"
        path.write_bytes(body)
        connection = duckdb.connect()
        connection.execute("SET TimeZone = 'UTC'")
        return connection.sql(query.format(path)).to_arrow_table()


def duckdb_parquet(body: bytes, schema: pa.Schema) -> pa.Table:
    return duckdb_file(body, "SELECT * FROM read_parquet('{}')")


def duckdb_csv(body: bytes, schema: pa.Schema) -> pa.Table:
    """Types as the stream has them; times are read as text, whose zone DuckDB would not take."""
    types = {field.name: duckdb_type(field.type) for field in schema}
    columns = ", ".join(f"'{name}': '{kind}'" for name, kind in types.items())
    query = "SELECT * FROM read_csv('{}', header = true, columns = {{" + columns + "}})"
    return duckdb_file(body, query)


def duckdb_type(kind: pa.DataType) -> str:
    if pa.types.is_timestamp(kind):
        return "TIMESTAMP_NS"
    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision}, {kind.scale})"
    names = {pa.int64(): "BIGINT", pa.uint64(): "UBIGINT", pa.uint32(): "UINTEGER"}
    names |= {pa.float64(): "DOUBLE", pa.bool_(): "BOOLEAN", pa.string(): "VARCHAR"}
    return names[kind]


def polars_arrow(body: bytes, schema: pa.Schema) -> pa.Table:
    return pl.read_ipc_stream(body).to_arrow()


def polars_parquet(body: bytes, schema: pa.Schema) -> pa.Table:
    return pl.read_parquet(body).to_arrow()


def polars_csv(body: bytes, schema: pa.Schema) -> pa.Table:
    """As text first: what polars guesses of decimals would be floats."""
    frame = pl.read_csv(body, infer_schema=False)
    columns = []
    for field in schema:
        column = pl.col(field.name)
        if pa.types.is_timestamp(field.type):
            column = column.str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="ns", time_zone="UTC")
        elif pa.types.is_decimal(field.type):
            column = column.cast(pl.Decimal(field.type.precision, field.type.scale))
        elif not pa.types.is_string(field.type):
            column = column.cast(pl.from_arrow(pa.array([], field.type)).dtype)
        columns.append(column)
    return frame.select(columns).to_arrow()


def pandas_arrow(body: bytes, schema: pa.Schema) -> pa.Table:
    frame = pa.ipc.open_stream(body).read_pandas(types_mapper=pd.ArrowDtype)
    return pa.Table.from_pandas(frame, preserve_index=False)


def pandas_parquet(body: bytes, schema: pa.Schema) -> pa.Table:
    frame = pd.read_parquet(io.BytesIO(body), dtype_backend="pyarrow")
    return pa.Table.from_pandas(frame, preserve_index=False)


def pandas_csv(body: bytes, schema: pa.Schema) -> pa.Table:
    types = {field.name: pd.ArrowDtype(field.type) for field in schema}
    frame = pd.read_csv(io.BytesIO(body), dtype=types, engine="pyarrow", dtype_backend="pyarrow")
    return pa.Table.from_pandas(frame, preserve_index=False)


READERS: dict[str, tuple[str, Reader]] = {
    "pyarrow Parquet": (PARQUET, lambda body, _: windows.read_table(body, PARQUET)),
    "pyarrow CSV": (CSV, pyarrow_csv),
    "duckdb Arrow": (ARROW, duckdb_arrow),
    "duckdb Parquet": (PARQUET, duckdb_parquet),
    "duckdb CSV": (CSV, duckdb_csv),
    "polars Arrow": (ARROW, polars_arrow),
    "polars Parquet": (PARQUET, polars_parquet),
    "polars CSV": (CSV, polars_csv),
    "pandas Arrow": (ARROW, pandas_arrow),
    "pandas Parquet": (PARQUET, pandas_parquet),
    "pandas CSV": (CSV, pandas_csv),
}


def same_types(table: pa.Table, schema: pa.Schema, name: str) -> Rows:
    """Libraries spell types in their own way; a cast that would lose anything is a mismatch."""
    try:
        return windows.from_table(table.select(schema.names).cast(schema))
    except (pa.ArrowInvalid, KeyError) as error:
        raise Mismatch(f"{name}: {error}") from error


def check(url: str, stream: str) -> str:
    bodies = {kind: windows.fetch(url, stream, kind) for kind in (ARROW, PARQUET, CSV)}
    table = windows.read_table(bodies[ARROW], ARROW)
    expected = windows.from_table(table)
    kinds = set(windows.kinds_of(table.schema).values())
    if not expected.rows or not {Kind.TIME, Kind.DECIMAL} <= kinds:
        raise Mismatch(f"{stream} has no rows, or no times and decimals to compare")
    for name, (kind, read) in READERS.items():
        rows = same_types(read(bodies[kind], table.schema), table.schema, name)
        windows.check_same(expected, "pyarrow Arrow", rows, name)
    return f"{len(expected.rows)} rows of {stream} agree in {', '.join(READERS)}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Read one window by several libraries.")
    parser.add_argument("--url", required=True)
    parser.add_argument("--stream", required=True)
    a = parser.parse_args()
    return windows.run("check_formats", lambda: check(a.url, a.stream))


if __name__ == "__main__":
    sys.exit(main())
