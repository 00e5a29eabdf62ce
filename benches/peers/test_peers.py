"""What must hold before a figure is believed: python3 -m unittest discover -s benches/peers"""

import contextlib
import io
import re
import sys
import tempfile
import threading
import unittest
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest import mock

import install
import line_protocol
import measure
import systems
from install import PeerError
from load import send
from market import Feed, Market, Totals, plain
from measure import Run, percentile
from report import Results, as_json, lines, verdicts
from server import LOOPBACK, Server, started

LINE = re.compile(
    r'trades,venue=\w+,symbol=\w+ price=([\d.]+),size=([\d.]+),side="(?:buy|sell)",seq=(\d+)i (\d+)'
)
RUN = Run(1.0, 1e6, 10.0, 20.0, 1.0, 1.5, 0.1, 100)
TOTALS = Totals(10, 45, 20.5, 2.25)
BINARY = Path("tourbillon")


class MarketTest(unittest.TestCase):
    def test_the_same_seed_gives_the_same_bytes(self) -> None:
        self.assertEqual(Market(1).feed("t", 500), Market(1).feed("t", 500))
        self.assertNotEqual(Market(1).feed("t", 500), Market(2).feed("t", 500))

    def test_totals_are_those_of_the_lines_and_times_differ(self) -> None:
        feed = Market(3).feed("trades", 20_000)
        self.assertEqual([body.count(b"\n") for body in feed.bodies], [16_384, 3_616])
        text = b"".join(feed.bodies).decode().splitlines()
        rows = [match.groups() for line in text if (match := LINE.fullmatch(line))]
        found = Totals(
            len(rows),
            sum(int(row[2]) for row in rows),
            sum(float(row[0]) for row in rows),
            sum(float(row[1]) for row in rows),
        )
        self.assertTrue(found.is_about(feed.totals), f"{found} {feed.totals}")
        times = [int(row[3]) for row in rows]
        self.assertEqual(times, sorted(set(times)))

    def test_decimals_are_plain(self) -> None:
        written = [plain(value, 4) for value in (1, 10_000, 12_500, 1_000_000)]
        self.assertEqual(written, ["0.0001", "1", "1.25", "100"])

    def test_a_missing_row_or_a_wrong_value_is_no_match(self) -> None:
        self.assertTrue(replace(TOTALS, price=20.5 * (1 + 1e-12)).is_about(TOTALS))
        for wrong in (
            replace(TOTALS, rows=9),
            replace(TOTALS, seq=46),
            replace(TOTALS, price=20.4),
            replace(TOTALS, size=2.26),
        ):
            self.assertFalse(wrong.is_about(TOTALS), wrong)


class Sink(BaseHTTPRequestHandler):
    """Keeps what it is sent; refuses bodies that say so."""

    protocol_version = "HTTP/1.1"
    got: list[bytes]
    lock = threading.Lock()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        with self.lock:
            self.got.append(body)
        told = b"no room" if body == b"refuse" else b""
        self.send_response(503 if told else 204)
        self.send_header("content-length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def sink() -> Iterator[int]:
    Sink.got = []
    server = ThreadingHTTPServer((LOOPBACK, 0), Sink)
    threading.Thread(target=server.serve_forever).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


class LoadTest(unittest.TestCase):
    def test_every_body_is_sent_once_and_timed(self) -> None:
        bodies = [f"body {number}".encode() for number in range(50)]
        with sink() as port:
            sent = send(port, "/write", bodies, 4)
        self.assertEqual(sorted(Sink.got), sorted(bodies))
        self.assertEqual(len(sent.requests), 50)

    def test_a_refusal_is_an_error_and_ends_the_run(self) -> None:
        with sink() as port, self.assertRaisesRegex(PeerError, "503: no room"):
            send(port, "/write", [b"refuse"] * 100, 2)
        self.assertLess(len(Sink.got), 100)

    def test_nobody_there_is_an_error(self) -> None:
        with sink() as port:
            pass
        with self.assertRaisesRegex(PeerError, "refused"):
            send(port, "/write", [b"x"], 2)

    def test_percentiles_are_of_nearest_rank(self) -> None:
        hundred = [float(number) for number in range(1, 101)]
        self.assertEqual([percentile(hundred, p) for p in (50, 99, 100)], [50.0, 99.0, 100.0])
        self.assertEqual(percentile([3.0], 50), 3.0)


class ServerTest(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory())) / "server"

    def started(self, script: str) -> Server:
        return self.enterContext(started("x", [sys.executable, "-c", script], {}, self.folder))

    def test_what_ends_early_says_why(self) -> None:
        server = self.started("import sys; sys.exit('no disk')")
        with self.assertRaisesRegex(PeerError, "no disk"):
            server.eventually("ready", lambda: False, 10.0)

    def test_its_own_time_is_counted(self) -> None:
        server = self.started("while True: pass")
        server.eventually("busy", lambda: server.cpu_seconds() > 0.2, 20.0)
        self.assertGreater(server.most_memory_mib(), 0)

    def test_wrong_rows_are_refused_and_missing_ones_awaited(self) -> None:
        server = self.started("import time; time.sleep(60)")
        answers: Iterator[Totals | OSError] = iter(
            [replace(TOTALS, rows=3), OSError("no such table"), TOTALS]
        )

        def totals(_url: str, _table: str) -> Totals:
            answer = next(answers)
            if isinstance(answer, OSError):
                raise answer
            return answer

        system = replace(systems.tourbillon(BINARY), totals=totals)
        measure._complete(system, server, "", "t", Feed([], TOTALS))
        for wrong in (replace(TOTALS, rows=11), replace(TOTALS, price=1.0)):
            answers = iter([wrong])
            with self.assertRaisesRegex(PeerError, "was sent"):
                measure._complete(system, server, "", "t", Feed([], TOTALS))


class ReportTest(unittest.TestCase):
    def results(self, **rates: float) -> Results:
        results = Results(systems.everything(BINARY), {"questdb": "mvn is not on the path"})
        names = {system.name.replace(", ", "_"): system.name for system in results.systems}
        for key, rate in rates.items():
            results.whole[names[key]] = [replace(RUN, rows_per_s=rate * 1e6)] * 3
        return results

    def test_only_durable_peers_count(self) -> None:
        results = self.results(tourbillon=0.9, influxdb=0.2, questdb_sync=0.4, questdb_nosync=0.8)
        whole, pinned, per_core = verdicts(results)
        self.assertAlmostEqual(whole.measured or 0.0, 2.25)
        self.assertIn("questdb, sync", whole.what)
        self.assertTrue(whole.passes)
        self.assertIn("not measured", str(pinned))
        self.assertIn("not measured", str(per_core))

    def test_a_miss_says_by_how_much(self) -> None:
        whole, *_ = verdicts(self.results(tourbillon=0.6, influxdb=0.4))
        self.assertFalse(whole.passes)
        self.assertIn("25 % short", str(whole))

    def test_the_median_counts_and_what_is_missing_is_named(self) -> None:
        results = self.results(tourbillon=1.0)
        rates = (9e6, 1e6, 2e6)
        results.whole["tourbillon"] = [replace(RUN, rows_per_s=rate) for rate in rates]
        text = "\n".join(lines(results))
        self.assertIn("| tourbillon | yes | 2.000 | 9.000 1.000 2.000 |", text)
        self.assertIn("questdb could not be had: mvn is not on the path", text)
        told = as_json(results, {})
        self.assertEqual(told["all_cores"]["tourbillon"]["median"]["rows_per_s"], 2e6)


class RoundTest(unittest.TestCase):
    def test_a_run_that_fails_is_told_and_the_others_go_on(self) -> None:
        def run(system: systems.System, *_: object) -> Run:
            if system.name == "influxdb":
                raise PeerError("no room")
            return RUN

        results = Results(systems.everything(BINARY), {})
        setup = measure.Setup(Path(), Path(), Feed([], TOTALS), Feed([], TOTALS), 1, 0.0)
        with mock.patch("line_protocol.run", run), contextlib.redirect_stdout(io.StringIO()):
            line_protocol._round(results, results.whole, 1, setup, None)
        self.assertEqual(results.failed, ["influxdb: no room"])
        self.assertNotIn("influxdb", results.whole)
        begun_with_the_second = ["questdb, sync", "questdb, nosync", "victoria-metrics"]
        self.assertEqual(list(results.whole), [*begun_with_the_second, "tourbillon"])


class InstallTest(unittest.TestCase):
    def test_what_cannot_be_fetched_is_missing_with_its_reason(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            cache = Path(folder)
            (cache / install.INFLUXDB).mkdir()
            (cache / install.INFLUXDB / "VERSION").write_text("1.6\n")
            before = install.FETCHES
            install.FETCHES = before | {install.QUESTDB: no_such_command}
            self.addCleanup(setattr, install, "FETCHES", before)
            versions, missing = install.install(cache, {install.INFLUXDB, install.QUESTDB})
            self.assertEqual(versions, {install.INFLUXDB: "1.6"})
            self.assertIn("not on the path", missing[install.QUESTDB])
            self.assertFalse((cache / install.QUESTDB / "VERSION").exists())


def no_such_command(folder: Path) -> str:
    return install._run(["no-such-command-here"], folder)


if __name__ == "__main__":
    unittest.main()
