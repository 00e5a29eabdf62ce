"""Writes points with a real line-protocol client and its own defaults, and reads them back.

    python3 tests/clients/write_points.py --url http://127.0.0.1:8080 --client questdb

The stream must not hold rows before. Exit codes: 0 every point came back once, 1 not, 2 usage.
"""

import argparse
import sys
import urllib.parse
from collections.abc import Callable, Iterator
from typing import NamedTuple

import windows
from windows import NDJSON, Kind, Mismatch

POINTS = 10_000
FIRST_NS = 1_700_000_000_123_456_789
STEP_NS = 1_000_003

# values that a client must escape, or write with an exponent or without a fraction
VENUES = ("XNAS", "New York, NY", "a=b")
SYMBOLS = ("BTC-USD", "ETH/USD", "Ünïcode", "BRK.A")

KINDS = {
    "hlc": Kind.TIME,
    "writer": Kind.INTEGER,
    "venue": Kind.TEXT,
    "symbol": Kind.TEXT,
    "ts_event": Kind.TIME,
    "price": Kind.FLOAT,
    "size": Kind.FLOAT,
    "n": Kind.INTEGER,
}


class Point(NamedTuple):
    """A point, in the order in which rows are compared."""

    n: int
    venue: str
    symbol: str
    ts_event: int
    price: float
    size: float


def points() -> Iterator[Point]:
    for n in range(POINTS):
        yield Point(
            n=n,
            venue=VENUES[n % len(VENUES)],
            symbol=SYMBOLS[n % len(SYMBOLS)],
            ts_event=FIRST_NS + n * STEP_NS,
            price=61_000 + n / 8 + n % 7 / 7,
            size=(n + 1) * 1e-5,
        )


def write_influxdb_client(url: str, stream: str) -> None:
    from influxdb_client import InfluxDBClient
    from influxdb_client import Point as Line

    with InfluxDBClient(url=url, token="test", org="test") as client:
        with client.write_api() as writer:
            for point in points():
                line = Line(stream).tag("venue", point.venue).tag("symbol", point.symbol)
                line = line.field("price", point.price).field("size", point.size)
                writer.write(bucket="test", record=line.field("n", point.n).time(point.ts_event))


def write_influxdb3(url: str, stream: str) -> None:
    from influxdb_client_3 import InfluxDBClient3
    from influxdb_client_3 import Point as Line

    lines = []
    for point in points():
        line = Line(stream).tag("venue", point.venue).tag("symbol", point.symbol)
        line = line.field("price", point.price).field("size", point.size)
        lines.append(line.field("n", point.n).time(point.ts_event))
    with InfluxDBClient3(host=url, token="test", database="test") as client:
        client.write(lines)


def write_questdb(url: str, stream: str) -> None:
    from questdb import Sender, TimestampNanos

    with Sender.from_conf(f"http::addr={urllib.parse.urlsplit(url).netloc};") as sender:
        for point in points():
            sender.row(
                stream,
                symbols={"venue": point.venue, "symbol": point.symbol},
                columns={"price": point.price, "size": point.size, "n": point.n},
                at=TimestampNanos(point.ts_event),
            )


CLIENTS: dict[str, Callable[[str, str], None]] = {
    "influxdb-client": write_influxdb_client,
    "influxdb3": write_influxdb3,
    "questdb": write_questdb,
}


def check(url: str, stream: str) -> str:
    body = windows.fetch_complete(url, stream, NDJSON, windows.count_lines, POINTS)
    rows = windows.from_ndjson(body, KINDS)
    windows.check_order(rows.select(windows.KEY), f"window of {stream}")
    got = sorted(rows.select(Point._fields))
    numbers = [row[0] for row in got]
    if numbers != list(range(POINTS)):
        twice = [n for n, next_ in zip(numbers, numbers[1:]) if n == next_]
        raise Mismatch(f"n is not 0..{POINTS} each once; twice: {twice[: windows.SHOWN]}")
    for row, point in zip(got, points()):
        if row != point:
            raise Mismatch(f"wrote {tuple(point)}, read {row}")
    return f"{POINTS} points back in {stream}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Write points with a real client, read them back.")
    parser.add_argument("--url", required=True)
    parser.add_argument("--query-url", help="where to read, by default where it wrote")
    parser.add_argument("--client", required=True, choices=CLIENTS)
    parser.add_argument("--stream", help="by default points_CLIENT")
    arguments = parser.parse_args()
    client: str = arguments.client
    stream: str = arguments.stream or f"points_{client}"

    def write_and_check() -> str:
        windows.reach(arguments.url)
        try:
            CLIENTS[client](arguments.url, stream)
        except Exception as error:  # each client has its own error types
            raise Mismatch(f"the client failed: {type(error).__name__}: {error}") from error
        return check(arguments.query_url or arguments.url, stream)

    return windows.run(f"write_points {client}", write_and_check)


if __name__ == "__main__":
    sys.exit(main())
