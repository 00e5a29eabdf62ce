"""Reads a stream's segment files with DuckDB alone and compares them with the service's window.

    python3 tests/clients/check_files.py --url http://127.0.0.1:8080 --stream trades --store DIR

Waits until what the service holds is sealed. Exit codes: 0 the same rows, 1 not, 2 usage.
"""

import argparse
import sys
import time
from pathlib import Path

import duckdb

import windows
from windows import ARROW, Mismatch, Rows

SEALED_LIMIT_S = 40.0
PAUSE_S = 1.0


class Files:
    """The segment files that a pattern names, as one table."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.connection = duckdb.connect()

    def query(self, text: str) -> duckdb.DuckDBPyRelation:
        """Runs a query, whose table `files` also has file, row, date and hour."""
        files = """
            SELECT * RENAME (filename AS file, file_row_number AS row)
            FROM read_parquet($pattern, hive_partitioning = true, union_by_name = true,
                              filename = true, file_row_number = true)"""
        params = {"pattern": self.pattern}
        return self.connection.sql(f"WITH files AS ({files}) {text}", params=params)

    def count(self) -> int:
        """Rows; none if there is no file yet."""
        try:
            (rows,) = self.query("SELECT count(*) FROM files").fetchall()[0]
        except duckdb.IOException as error:
            if "No files found" in str(error):
                return 0
            raise
        return rows

    def rows(self, columns: tuple[str, ...]) -> Rows:
        """All rows in the order of the window."""
        names = ", ".join(f'"{name}"' for name in columns)
        table = self.query(f"SELECT {names} FROM files ORDER BY hlc, writer").to_arrow_table()
        return windows.from_table(table)

    def check_order(self) -> int:
        """(hlc, writer) must strictly increase in every file; says how many files there are."""
        wrong = self.query("""
            , steps AS (
              SELECT file, row, (hlc, writer) AS key, lag((hlc, writer)) OVER one_file AS below
              FROM files WINDOW one_file AS (PARTITION BY file ORDER BY row))
            SELECT file, row FROM steps WHERE key <= below ORDER BY file, row LIMIT 1""").fetchall()
        if wrong:
            raise Mismatch(f"{wrong[0][0]}: row {wrong[0][1]} is not above the one before it")
        return len(self.query("SELECT DISTINCT file FROM files").fetchall())

    def check_folders(self) -> None:
        """A file lies in the folder of its first row's date and hour."""
        wrong = self.query("""
            SELECT file, make_timestamp(epoch_ns(min(hlc)) // 1000) AS begins
            FROM files GROUP BY file, date, hour
            HAVING begins::DATE <> date OR hour(begins) <> hour LIMIT 1""").fetchall()
        if wrong:
            raise Mismatch(f"{wrong[0][0]} begins at {wrong[0][1]}, outside its folder")


def check(url: str, stream: str, pattern: str) -> str:
    files = Files(pattern)
    deadline = time.monotonic() + SEALED_LIMIT_S
    while True:
        window = windows.from_table(windows.read_table(windows.fetch(url, stream, ARROW), ARROW))
        count = files.count()
        if count == len(window.rows) and count > 0:
            break
        if time.monotonic() > deadline:
            raise Mismatch(f"{count} rows in {pattern}, {len(window.rows)} in the window")
        time.sleep(PAUSE_S)
    files.check_folders()
    segments = files.check_order()
    windows.check_order(window.select(windows.KEY), f"window of {stream}")
    windows.check_same(files.rows(window.columns), "the files", window, "the window")
    return f"{count} rows in {segments} files are the window of {stream}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare segment files with the window.")
    parser.add_argument("--url", required=True)
    parser.add_argument("--stream", required=True)
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--store", type=Path, help="folder of the store")
    place.add_argument("--data-glob", help="pattern of the files, like DIR/**/*.parquet")
    a = parser.parse_args()
    pattern = a.data_glob or str(a.store / a.stream / "data" / "date=*" / "hour=*" / "p*.parquet")

    def run() -> str:
        try:
            return check(a.url, a.stream, pattern)
        except duckdb.Error as error:
            raise Mismatch(f"DuckDB: {error}") from error

    return windows.run("check_files", run)


if __name__ == "__main__":
    sys.exit(main())
