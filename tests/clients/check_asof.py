"""Compares as-of joins of two streams with DuckDB's ASOF JOIN of the rows of their windows.

    python3 tests/clients/check_asof.py --url http://127.0.0.1:8080 --left trades --right quotes

Of right rows with equal times the last by (hlc, writer) counts; DuckDB takes any, so it is given
only that one. Exit codes: 0 the same, 1 not, 2 usage.
"""

import argparse
import json
import sys
import urllib.parse
import urllib.request

import duckdb
import pyarrow as pa

import windows
from check_bars import integers
from windows import ARROW, Mismatch, Row

MS = 1_000_000
LEFT = ("hlc", "writer", "venue", "symbol", "ts_event")
# left, right, joined on, time, tolerance in ms
CASES = [
    ("left", "right", ("venue", "symbol"), "event", None),
    ("left", "right", ("venue", "symbol"), "event", 20),
    ("left", "right", ("venue", "symbol"), "hlc", None),
    ("left", "left", ("symbol",), "hlc", 1),
    ("left", "left", ("symbol",), "event", None),
    ("right", "left", ("symbol",), "event", 500),
]
JOIN = """
    WITH newest AS (
      SELECT *, {time} AS t FROM theirs
      QUALIFY row_number() OVER (PARTITION BY {on}, {time} ORDER BY hlc DESC, writer DESC) = 1)
    SELECT {columns}, newest.hlc, newest.writer
    FROM own ASOF LEFT JOIN newest ON {equal} AND own.{time} >= newest.t
    ORDER BY own.{time}, own.hlc, own.writer"""


def complete(url: str, stream: str) -> pa.Table:
    """The final window once it has every row that was accepted: it grows after a load."""
    with urllib.request.urlopen(f"{url}/v1/streams/{stream}/partitions") as answer:
        partitions = json.load(answer)["partitions"]
    accepted = sum(partition["accepted_rows"] for partition in partitions)

    def count(body: bytes) -> int:
        return len(windows.read_table(body, ARROW))

    return windows.read_table(windows.fetch_complete(url, stream, ARROW, count, accepted), ARROW)


class Joins:
    """The streams' rows, and the joins of them."""

    def __init__(self, url: str, streams: dict[str, str]) -> None:
        self.url = url
        self.streams = streams
        self.rows = {}
        for side, stream in streams.items():
            self.rows[side] = integers(complete(url, stream).select(list(LEFT)))

    def computed(
        self, sides: tuple[str, str], on: tuple[str, ...], time: str, tolerance: int | None
    ) -> list[Row]:
        """The rows that DuckDB has; those that are too old are nothing."""
        connection = duckdb.connect()
        connection.register("own", self.rows[sides[0]])
        connection.register("theirs", self.rows[sides[1]])
        column = "hlc" if time == "hlc" else "ts_event"
        query = JOIN.format(
            time=column,
            on=", ".join(on),
            columns=", ".join(f"own.{name}" for name in LEFT),
            equal=" AND ".join(f"own.{name} = newest.{name}" for name in on),
        )
        rows = connection.execute(query).fetchall()
        if tolerance is None:
            return rows
        times = self.times(sides[1], column)
        return [self.near(row, column, times, tolerance) for row in rows]

    def times(self, side: str, column: str) -> dict[Row, int]:
        names = ("hlc", "writer", column)
        hlc, writer, time = (self.rows[side].column(name).to_pylist() for name in names)
        return dict(zip(zip(hlc, writer), time))

    @staticmethod
    def near(row: Row, column: str, times: dict[Row, int], tolerance: int) -> Row:
        *own, hlc, writer = row
        if hlc is not None and own[LEFT.index(column)] - times[hlc, writer] > tolerance:
            return (*own, None, None)
        return row

    def found(
        self, sides: tuple[str, str], on: tuple[str, ...], time: str, tolerance: int | None
    ) -> list[Row]:
        """The rows that the service has."""
        query = {
            "left": self.streams[sides[0]],
            "right": self.streams[sides[1]],
            "on": ",".join(on),
            "time": time,
            "columns": ",".join(LEFT),
            "right_columns": "hlc,writer",
        }
        if tolerance is not None:
            query["tolerance"] = f"{tolerance}ns"
        path = f"/v1/asof?{urllib.parse.urlencode(query)}"
        answer = windows.fetch_path(self.url, path, ARROW, time == "hlc")
        return windows.from_table(windows.read_table(answer, ARROW)).rows


def check(url: str, left: str, right: str) -> str:
    joins = Joins(url, {"left": left, "right": right})
    told = []
    for own, other, on, time, tolerance_ms in CASES:
        tolerance = None if tolerance_ms is None else tolerance_ms * MS
        case = ((own, other), on, time, tolerance)
        found, expected = joins.found(*case), joins.computed(*case)
        what = f"{joins.streams[own]} as of {joins.streams[other]} by {time}"
        if len(found) != len(expected):
            raise Mismatch(f"{what}: {len(found)} rows, DuckDB has {len(expected)}")
        for i, (row, twin) in enumerate(zip(found, expected)):
            if tuple(row) != tuple(twin):
                raise Mismatch(f"{what}: row {i} is {row}, DuckDB has {twin}")
        joined = sum(row[-1] is not None for row in found)
        if joined == 0:
            raise Mismatch(f"{what}: nothing was joined, so nothing was compared")
        told.append(f"{what}: {joined} of {len(found)}")
    return "; ".join(told) + "; as DuckDB has them"


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare as-of joins with DuckDB's.")
    parser.add_argument("--url", required=True)
    parser.add_argument("--left", required=True)
    parser.add_argument("--right", required=True)
    a = parser.parse_args()

    def run() -> str:
        try:
            return check(a.url, a.left, a.right)
        except duckdb.Error as error:
            raise Mismatch(f"DuckDB: {error}") from error

    return windows.run("check_asof", run)


if __name__ == "__main__":
    sys.exit(main())
