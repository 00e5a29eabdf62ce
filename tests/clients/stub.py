"""A stand-in for the service: line protocol in, windows out. Only for the checks' own tests."""

import csv
import gzip
import io
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

from windows import ARROW, CSV, NDJSON, PARQUET

TIME = pa.timestamp("ns", "UTC")
PRICE = pa.decimal128(18, 9)
TRADES = pa.schema(
    [
        ("hlc", TIME),
        ("writer", pa.uint32()),
        ("venue", pa.string()),
        ("symbol", pa.string()),
        ("ts_event", TIME),
        ("price", PRICE),
        ("size", PRICE),
        ("side", pa.string()),
        ("seq", pa.int64()),
        ("ts_recv", TIME),
    ]
)
POINTS = pa.schema(
    [
        ("hlc", TIME),
        ("writer", pa.uint32()),
        ("venue", pa.string()),
        ("symbol", pa.string()),
        ("ts_event", TIME),
        ("price", pa.float64()),
        ("size", pa.float64()),
        ("n", pa.int64()),
    ]
)
FIRST_HLC = 1_723_161_254_000_000_001
SPLIT = {separator: re.compile(rf"(?<!\\){separator}") for separator in " ,="}


def stamped(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows with the system columns that the service would give them."""
    keys = [{"hlc": FIRST_HLC + i, "writer": 1 + i % 2} for i in range(len(rows))]
    return pa.Table.from_pylist([key | row for key, row in zip(keys, rows)], schema)


class Stub(ThreadingHTTPServer):
    """Answers 503 to the first window of all, as a service does whose window is not yet final."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.tables: dict[str, pa.Table] = {}
        self.override: dict[str, pa.Table] = {}  # by Accept, to make a format lie
        self.points: dict[str, list[dict[str, Any]]] = {}
        self.refusals = 1
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def take(self, body: bytes) -> None:
        with self.lock:
            for line in body.decode().splitlines():
                name, row = parse_line(line)
                self.points.setdefault(name, []).append(row)

    def table(self, stream: str, accept: str) -> pa.Table:
        if stream in self.points:
            return stamped(self.points[stream], POINTS)
        return self.override.get(accept, self.tables[stream])


@contextmanager
def stub() -> Iterator[Stub]:
    server = Stub()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class Handler(BaseHTTPRequestHandler):
    server: Stub

    def do_GET(self) -> None:
        if self.path == "/settings":
            settings = {"config": {"line.proto.support.versions": [1]}}
            return self.answer(200, "application/json", json.dumps(settings).encode())
        if self.server.refusals > 0:
            self.server.refusals -= 1
            return self.answer(503, "application/problem+json", b"{}")
        stream = self.path.split("/")[3]
        accept = self.headers["Accept"]
        self.answer(200, accept, encode(self.server.table(stream, accept), accept))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Content-Encoding"] == "gzip":
            body = gzip.decompress(body)
        self.server.take(body)
        self.answer(204, "text/plain", b"")

    def answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Tourbillon-Final", "true")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def parse_line(line: str) -> tuple[str, dict[str, Any]]:
    head, fields, time = SPLIT[" "].split(line)
    measurement, *tags = SPLIT[","].split(head)
    row: dict[str, Any] = {"ts_event": int(time)}
    for tag in tags:
        name, value = SPLIT["="].split(tag)
        row[name] = re.sub(r"\\(.)", r"\1", value)
    for field in SPLIT[","].split(fields):
        name, value = field.split("=")
        row[name] = int(value[:-1]) if value.endswith("i") else float(value)
    return measurement, row


def encode(table: pa.Table, accept: str) -> bytes:
    out = io.BytesIO()
    if accept == ARROW:
        with pa.ipc.new_stream(out, table.schema) as writer:
            writer.write_table(table)
    elif accept == PARQUET:
        pa.parquet.write_table(table, out)
    else:
        out.write(encode_text(table, accept).encode())
    return out.getvalue()


def encode_text(table: pa.Table, accept: str) -> str:
    columns = []
    for name, field in zip(table.column_names, table.schema):
        is_time = pa.types.is_timestamp(field.type)
        values = (table[name].cast(pa.int64()) if is_time else table[name]).to_pylist()
        columns.append([rfc3339(value) for value in values] if is_time else values)
    rows = zip(*columns)
    if accept == CSV:
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(table.column_names)
        writer.writerows([[plain(value) for value in row] for row in rows])
        return out.getvalue()
    assert accept == NDJSON, accept
    lines = []
    for row in rows:
        values = [plain(v) if isinstance(v, Decimal) else json.dumps(v) for v in row]
        pairs = [f'"{name}":{value}' for name, value in zip(table.column_names, values)]
        lines.append("{" + ",".join(pairs) + "}\n")
    return "".join(lines)


def plain(value: Any) -> Any:
    return f"{value:f}" if isinstance(value, Decimal) else value


def rfc3339(ns: int | None) -> str | None:
    if ns is None:
        return None
    seconds, rest = divmod(ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:09}Z"
