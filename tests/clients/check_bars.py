"""Compares bars of a stream with those that DuckDB computes from the rows of its window.

    python3 tests/clients/check_bars.py --url http://127.0.0.1:8080 --stream trades

Every number must be the same to the last digit, by HLC and by event time. Exit codes: 0 the same,
1 not, 2 usage.
"""

import argparse
import decimal
import sys
from decimal import Decimal

import duckdb
import pyarrow as pa

import windows
from windows import ARROW, CSV, Mismatch, Row, Rows

UNITS_NS = {"ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000, "h": 3_600_000_000_000}
CASES = [
    ("hlc", "1s"),
    ("hlc", "1ms"),
    ("event", "1s"),
    ("event", "7ms"),
    ("event", "1m"),
]
BARS = """
    SELECT t // $interval * $interval AS time, venue, symbol,
           first(price ORDER BY t, hlc, writer) AS open, max(price) AS high, min(price) AS low,
           last(price ORDER BY t, hlc, writer) AS close,
           sum(size)::DECIMAL(38, 9) AS volume, sum(price * size)::DECIMAL(38, 18) AS notional,
           count(*) AS count
    FROM (SELECT *, {time} AS t FROM rows)
    GROUP BY ALL ORDER BY time, venue, symbol"""
COLUMNS = (
    "time",
    "venue",
    "symbol",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "notional",
    "vwap",
    "count",
)
VWAP_PLACES = Decimal(1).scaleb(-15)


def integers(table: pa.Table) -> pa.Table:
    """Times as integers: DuckDB's times with a zone have microseconds only."""
    for i, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            table = table.set_column(i, field.name, table.column(i).cast(pa.int64()))
    return table


def with_vwap(bar: Row) -> Row:
    """Volume-weighted price, a half to the even neighbour."""
    *front, volume, notional, count = bar
    vwap = None
    if volume:
        context = decimal.Context(prec=80, rounding=decimal.ROUND_HALF_EVEN)
        vwap = context.quantize(context.divide(notional, volume), VWAP_PLACES)
    return (*front, volume, notional, vwap, count)


def computed(rows: pa.Table, time: str, interval_ns: int) -> Rows:
    """The bars that DuckDB has."""
    connection = duckdb.connect()
    connection.register("rows", rows)
    query = BARS.format(time="hlc" if time == "hlc" else "ts_event")
    bars = connection.execute(query, {"interval": interval_ns}).fetchall()
    return Rows(COLUMNS, [with_vwap(bar) for bar in bars])


def interval_ns(text: str) -> int:
    digits = text.rstrip("mshd")
    return int(digits) * UNITS_NS[text[len(digits) :]]


def check(url: str, stream: str) -> str:
    window = windows.read_table(windows.fetch(url, stream, ARROW), ARROW)
    rows = integers(window)
    told = []
    for time, interval in CASES:
        what = f"bars of {interval} by {time}"
        path = f"/v1/streams/{stream}/bars?interval={interval}&time={time}"
        # late events keep an answer by event time from being final
        is_final = time == "hlc"
        arrow = windows.read_table(windows.fetch_path(url, path, ARROW, is_final), ARROW)
        found = windows.from_table(arrow)
        expected = computed(rows, time, interval_ns(interval))
        windows.check_same(found, what, expected, "DuckDB")
        if sum(found.rows[i][-1] for i in range(len(found.rows))) != len(window):
            raise Mismatch(f"{what} do not count every row")
        text = windows.fetch_path(url, path, CSV, is_final)
        kinds = windows.kinds_of(arrow.schema)
        windows.check_same(windows.from_csv(text, kinds), f"{what} as CSV", found, "Arrow")
        told.append(f"{len(found.rows)} {what}")
    return f"{len(window)} rows of {stream} make {', '.join(told)}, as DuckDB has them"


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare bars with DuckDB's.")
    parser.add_argument("--url", required=True)
    parser.add_argument("--stream", required=True)
    a = parser.parse_args()

    def run() -> str:
        try:
            return check(a.url, a.stream)
        except duckdb.Error as error:
            raise Mismatch(f"DuckDB: {error}") from error

    return windows.run("check_bars", run)


if __name__ == "__main__":
    sys.exit(main())
