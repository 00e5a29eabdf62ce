"""The checks hold on good data and fail on bad: python3 -m unittest discover -s tests/clients"""

import tempfile
import unittest
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

import check_asof
import check_bars
import check_files
import check_formats
import check_subscribe
import check_window
import stub
import windows
import write_points
from stub import TRADES, Stub, stamped
from windows import ARROW, CSV, NDJSON, PARQUET, Mismatch

HEADER = "venue,symbol,recv_ts_ns,event_ms,trade_ms,side,price,size,seq"
ROWS = 40


def source_lines() -> list[str]:
    line = '"V","S{0}",17231612540878965{1:02},1723161255{1:03},1723161255342,"sell","6183{0}.630",'
    return [line.format(i % 3, i) + f'"0.000010{i}",{i // 2}' for i in range(ROWS)]


class Case(unittest.TestCase):
    def setUp(self) -> None:
        windows.RETRY_LIMIT_S, windows.RETRY_PAUSE_S = 0.3, 0.05
        check_files.SEALED_LIMIT_S, check_files.PAUSE_S = 0.3, 0.05
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.csv = self.folder / "trades.csv"
        self.csv.write_text("\n".join([HEADER, *source_lines()]) + "\n")
        names = list(check_window.SOURCE)
        rows = [dict(zip(names, row)) for row in check_window.read_source(self.csv)]
        self.good = stamped(rows, TRADES)
        self.stub: Stub = self.enterContext(stub.stub())
        self.stub.tables["trades"] = self.good

    def changed(self, row: int, **values: Any) -> pa.Table:
        rows = self.plain_rows()
        rows[row] |= values
        return pa.Table.from_pylist(rows, TRADES)

    def plain_rows(self) -> list[dict[str, Any]]:
        decoded = windows.from_table(self.good)
        return [dict(zip(decoded.columns, row)) for row in decoded.rows]

    def fails(self, text: str, check: Callable[[], str]) -> None:
        with self.assertRaisesRegex(Mismatch, text):
            check()


class Window(Case):
    def check(self) -> str:
        return check_window.check(self.stub.url, "trades", self.csv, ROWS)

    def test_agrees_with_the_source(self) -> None:
        self.assertIn("40 rows", self.check())

    def test_finds_a_changed_row_in_any_format(self) -> None:
        for accept in (NDJSON, CSV, ARROW, PARQUET):
            with self.subTest(accept):
                self.stub.override = {accept: self.changed(7, seq=99)}
                self.fails("row 7", self.check)

    def test_finds_what_all_formats_agree_on_wrongly(self) -> None:
        self.stub.tables["trades"] = self.changed(7, ts_recv=1)
        self.fails("1 rows missing.* 1 too many", self.check)

    def test_finds_lost_and_repeated_rows(self) -> None:
        self.stub.tables["trades"] = self.good.slice(1)
        self.fails("39 rows instead of 40", self.check)
        self.stub.tables["trades"] = stamped(self.plain_rows() + self.plain_rows()[:1], TRADES)
        self.fails("41 rows instead of 40", self.check)

    def test_finds_keys_that_do_not_increase(self) -> None:
        key = self.plain_rows()[7]
        self.stub.tables["trades"] = self.changed(8, hlc=key["hlc"], writer=key["writer"])
        self.fails("row 8 has key", self.check)

    def test_times_are_text_or_integers(self) -> None:
        for text in ("2024-08-08T23:54:14.0878965Z", "1723161254087896500"):
            self.assertEqual(windows.parse_time(text), 1_723_161_254_087_896_500)
        self.fails("neither", lambda: str(windows.parse_time("2024-08-08T23:54:14+02:00")))


class Formats(Case):
    def check(self) -> str:
        return check_formats.check(self.stub.url, "trades")

    def test_libraries_agree(self) -> None:
        self.assertIn("40 rows", self.check())

    def test_finds_a_digit_or_a_nanosecond_in_any_format(self) -> None:
        price, received = self.plain_rows()[7]["price"], self.plain_rows()[7]["ts_recv"]
        for accept in (CSV, PARQUET):
            for changed in ({"price": price + Decimal("1e-9")}, {"ts_recv": received + 1}):
                with self.subTest(accept, **changed):
                    self.stub.override = {accept: self.changed(7, **changed)}
                    self.fails("row 7", self.check)


class Subscriptions(unittest.TestCase):
    def test_finds_rows_lost_repeated_or_out_of_order(self) -> None:
        expected = [(f"t{n}", 0, n) for n in range(5)]
        check_subscribe.compare("good", expected, expected, ordered=True)
        check_subscribe.compare("eager", expected[::-1], expected, ordered=False)
        wrong = {
            "twice": expected[:3] + expected[2:],
            "1 missing": expected[:4],
            "order": [expected[1], expected[0], *expected[2:]],
        }
        for text, got in wrong.items():
            with self.subTest(text), self.assertRaisesRegex(Mismatch, text):
                check_subscribe.compare("x", got, expected, ordered=True)


class Points(Case):
    def test_every_client_gets_its_points_back(self) -> None:
        for client, write in write_points.CLIENTS.items():
            with self.subTest(client):
                stream = f"points_{client}"
                write(self.stub.url, stream)
                self.assertIn("10000 points", write_points.check(self.stub.url, stream))

    def test_finds_wrong_points(self) -> None:
        write_points.write_questdb(self.stub.url, "p")
        points = self.stub.points["p"]
        last = points.pop()
        self.fails("9999 rows", lambda: write_points.check(self.stub.url, "p"))
        points.append(points[0])
        self.fails(r"twice: \[0\]", lambda: write_points.check(self.stub.url, "p"))
        points[-1] = last | {"price": last["price"] + 1e-11}
        self.fails("wrote", lambda: write_points.check(self.stub.url, "p"))


class Files(Case):
    def setUp(self) -> None:
        super().setUp()
        self.data = self.folder / "store" / "trades" / "data" / "date=2024-08-08" / "hour=23"
        self.data.mkdir(parents=True)

    def check(self) -> str:
        pattern = f"{self.folder}/store/trades/data/**/p*.parquet"
        return check_files.check(self.stub.url, "trades", pattern)

    def store(self, *files: pa.Table) -> None:
        for i, table in enumerate(files):
            # a file also has the offset, which windows lack by default
            offsets = pa.array(range(len(table)), pa.uint64())
            table = table.add_column(2, "log_offset", offsets)
            pa.parquet.write_table(table, self.data / f"p{i}-1.parquet")

    def test_files_hold_the_window(self) -> None:
        self.fails("0 rows in", self.check)
        even = pa.array([i % 2 == 0 for i in range(ROWS)])
        odd = pa.array([i % 2 == 1 for i in range(ROWS)])
        self.store(self.good.filter(even), self.good.filter(odd))
        self.assertIn("40 rows in 2 files", self.check())

    def test_finds_wrong_files(self) -> None:
        self.store(self.changed(7, side=None))
        self.fails("row 7: the files", self.check)
        self.store(self.good.take([1, 0, *range(2, ROWS)]))
        self.fails("row 1 is not above", self.check)
        self.data.rename(self.data.with_name("hour=22"))
        self.fails("outside its folder", self.check)


class Bars(unittest.TestCase):
    def test_bars_are_those_that_one_makes_by_hand(self) -> None:
        price, size = pa.decimal128(18, 9), pa.decimal128(18, 9)
        rows = pa.table(
            {
                "hlc": [5, 1, 3, 12],
                "writer": [1, 1, 2, 1],
                "venue": ["v"] * 4,
                "symbol": ["s"] * 4,
                "price": pa.array([Decimal(2), Decimal(7), Decimal(1), Decimal(4)], price),
                "size": pa.array([Decimal(1), Decimal(1), Decimal(1), Decimal(0)], size),
            }
        )
        first, second = check_bars.computed(rows, "hlc", 10).rows
        vwap = Decimal("3.333333333333333")
        self.assertEqual(first, (0, "v", "s", 7, 7, 1, 2, 3, 10, vwap, 3))
        self.assertEqual(second, (10, "v", "s", 4, 4, 4, 4, 0, 0, None, 1))
        self.assertEqual(check_bars.interval_ns("7ms"), 7_000_000)

    def test_right_rows_that_are_too_old_are_nothing(self) -> None:
        row = (100, 1, "v", "s", 90, 70, 2)
        times = {(70, 2): 70}
        near = [check_asof.Joins.near(row, "hlc", times, most) for most in (30, 29)]
        self.assertEqual(near, [row, (100, 1, "v", "s", 90, None, None)])


if __name__ == "__main__":
    unittest.main()
