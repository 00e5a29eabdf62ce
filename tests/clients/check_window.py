"""Compares a loaded stream's window, in four formats, with the CSV file that was loaded.

    python3 tests/clients/check_window.py --url http://127.0.0.1:8080 --stream trades \\
        --csv ../shared/data/binance_trades.csv.gz --expect 78638

Exit codes: 0 all agree row for row, 1 not, 2 usage.
"""

import argparse
import csv
import gzip
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import windows
from windows import ARROW, CSV, NDJSON, PARQUET, Mismatch, Row, Rows

# stream column <- (column of the file, its unit or type)
SOURCE = {
    "venue": ("venue", "text"),
    "symbol": ("symbol", "text"),
    "ts_event": ("event_ms", "ms"),
    "price": ("price", "decimal"),
    "size": ("size", "decimal"),
    "side": ("side", "text"),
    "seq": ("seq", "integer"),
    "ts_recv": ("recv_ts_ns", "ns"),
}

READ: dict[str, Callable[[str], Any]] = {
    "text": str,
    "integer": int,
    "decimal": Decimal,
    "ms": lambda text: int(text) * 1_000_000,
    "ns": int,
}


def read_source(path: Path) -> list[Row]:
    """Rows of the file as the stream should hold them, in the order of SOURCE."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", newline="") as file:
        lines = csv.reader(file)
        header = next(lines)
        plan = [(header.index(column), READ[unit]) for column, unit in SOURCE.values()]
        return [tuple(read(line[i]) if line[i] else None for i, read in plan) for line in lines]


def fetch_all(url: str, stream: str, expect: int) -> dict[str, Rows]:
    """The window by format."""
    first = windows.fetch_complete(url, stream, NDJSON, windows.count_lines, expect)
    arrow = windows.read_table(windows.fetch(url, stream, ARROW), ARROW)
    parquet = windows.read_table(windows.fetch(url, stream, PARQUET), PARQUET)
    # text has no types, the Arrow stream tells them
    kinds = windows.kinds_of(arrow.schema)
    return {
        "NDJSON": windows.from_ndjson(first, kinds),
        "CSV": windows.from_csv(windows.fetch(url, stream, CSV), kinds),
        "Arrow": windows.from_table(arrow),
        "Parquet": windows.from_table(parquet),
    }


def check(url: str, stream: str, path: Path, expect: int) -> str:
    expected = read_source(path)
    if len(expected) != expect:
        raise Mismatch(f"{path} has {len(expected)} rows, --expect says {expect}")
    formats = fetch_all(url, stream, expect)
    arrow = formats["Arrow"]
    if arrow.columns[:2] != windows.KEY:
        raise Mismatch(f"the window's columns begin with {arrow.columns[:2]}, not {windows.KEY}")
    for name, rows in formats.items():
        windows.check_same(arrow, "Arrow", rows, name)
    if len(arrow.rows) != expect:
        raise Mismatch(f"the window grew to {len(arrow.rows)} rows while it was read")
    windows.check_order(arrow.select(windows.KEY), f"window of {stream}")
    got = arrow.select(list(SOURCE))
    windows.check_same_multiset(got, expected, f"{stream} against {path.name}")
    return f"{expect} rows of {stream} agree in {', '.join(formats)} and with {path.name}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare a window with the CSV that was loaded.")
    parser.add_argument("--url", required=True)
    parser.add_argument("--stream", required=True)
    parser.add_argument("--csv", required=True, type=Path)
    parser.add_argument("--expect", required=True, type=int, help="rows")
    a = parser.parse_args()
    return windows.run("check_window", lambda: check(a.url, a.stream, a.csv, a.expect))


if __name__ == "__main__":
    sys.exit(main())
