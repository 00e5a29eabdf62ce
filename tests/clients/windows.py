"""Windows of a running service as rows that compare exactly, whatever format carried them.

A row is a tuple in the order of the window's columns: times are integer ns since the epoch,
decimals `Decimal`, the rest `int`, `float`, `bool`, `str`; None where there is no value.
"""

import csv
import io
import json
import re
import socket
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal
from enum import Enum
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

NDJSON = "application/x-ndjson"
CSV = "text/csv"
ARROW = "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"

KEY = ("hlc", "writer")
RETRY_LIMIT_S = 30.0
RETRY_PAUSE_S = 0.5
REACH_TIMEOUT_S = 5.0
REQUEST_TIMEOUT_S = 120.0
SHOWN = 3
RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|\+00:00)")

Row = tuple[Any, ...]


class Mismatch(Exception):
    """What was checked does not hold; the text is for people."""


class Kind(Enum):
    """How a value of a column is read from text."""

    TIME = "time"
    DECIMAL = "decimal"
    INTEGER = "integer"
    FLOAT = "float"
    BOOL = "bool"
    TEXT = "text"


@dataclass(frozen=True)
class Rows:
    """A decoded window."""

    columns: tuple[str, ...]
    rows: list[Row]

    def select(self, columns: Sequence[str]) -> list[Row]:
        missing = [name for name in columns if name not in self.columns]
        if missing:
            raise Mismatch(f"no column {', '.join(missing)} among {', '.join(self.columns)}")
        at = [self.columns.index(name) for name in columns]
        return [tuple(row[i] for i in at) for row in self.rows]


def run(name: str, check: Callable[[], str]) -> int:
    """Runs a check, prints its one line, and returns the exit code."""
    try:
        print(f"PASS {name}: {check()}")
        return 0
    except (Mismatch, OSError) as error:
        print(f"FAIL {name}: {error}", file=sys.stderr)
        return 1


def reach(url: str) -> None:
    """Fails at once if nobody listens, where a client would try for minutes."""
    place = urllib.parse.urlsplit(url)
    socket.create_connection((place.hostname, place.port or 80), REACH_TIMEOUT_S).close()


def fetch(url: str, stream: str, accept: str) -> bytes:
    """The final window of a whole stream; a 503 is tried again until RETRY_LIMIT_S have passed."""
    name = urllib.parse.quote(stream, safe="")
    return fetch_path(url, f"/v1/streams/{name}/window?consistency=final", accept)


def fetch_path(url: str, path: str, accept: str, is_final: bool = True) -> bytes:
    """Rows of any request; a 503 is tried again until RETRY_LIMIT_S have passed."""
    address = f"{url.rstrip('/')}{path}&wait=10s"
    request = urllib.request.Request(address, headers={"Accept": accept})
    deadline = time.monotonic() + RETRY_LIMIT_S
    while True:
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_S) as answer:
                _check_headers(answer.headers, accept, is_final)
                return answer.read()
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")[:500]
            if error.code != 503 or time.monotonic() > deadline:
                raise Mismatch(f"{path}: {error.code} {text}") from error
        time.sleep(RETRY_PAUSE_S)


def fetch_complete(
    url: str, stream: str, accept: str, count: Callable[[bytes], int], expect: int
) -> bytes:
    """Asks until the window holds `expect` rows: what is final grows after a write."""
    deadline = time.monotonic() + RETRY_LIMIT_S
    while True:
        body = fetch(url, stream, accept)
        rows = count(body)
        if rows == expect:
            return body
        if rows > expect or time.monotonic() > deadline:
            raise Mismatch(f"window of {stream}: {rows} rows instead of {expect}")
        time.sleep(RETRY_PAUSE_S)


def count_lines(body: bytes) -> int:
    return body.count(b"\n")


def _check_headers(headers: Mapping[str, str], accept: str, is_final: bool) -> None:
    kind, final = headers.get("Content-Type", ""), headers.get("Tourbillon-Final", "")
    if kind.split(";")[0] != accept:
        raise Mismatch(f"asked for {accept}, got `{kind}`")
    if final != str(is_final).lower():
        raise Mismatch(f"asked for final rows, got Tourbillon-Final `{final}`")


def kinds_of(schema: pa.Schema) -> dict[str, Kind]:
    return {field.name: _kind(field.name, field.type) for field in schema}


def _kind(name: str, ty: pa.DataType) -> Kind:
    if pa.types.is_timestamp(ty):
        if ty.unit != "ns":
            raise Mismatch(f"column {name} is {ty}, not in ns")
        return Kind.TIME
    tests = [
        (pa.types.is_decimal, Kind.DECIMAL),
        (pa.types.is_integer, Kind.INTEGER),
        (pa.types.is_floating, Kind.FLOAT),
        (pa.types.is_boolean, Kind.BOOL),
        (pa.types.is_string, Kind.TEXT),
        (pa.types.is_large_string, Kind.TEXT),
    ]
    for test, kind in tests:
        if test(ty):
            return kind
    raise Mismatch(f"column {name} has the unexpected type {ty}")


def read_table(body: bytes, accept: str) -> pa.Table:
    """Decodes Arrow or Parquet."""
    if accept == ARROW:
        return pa.ipc.open_stream(body).read_all()
    return pa.parquet.read_table(io.BytesIO(body))


def from_table(table: pa.Table) -> Rows:
    columns = []
    for name, kind in kinds_of(table.schema).items():
        column = table.column(name)
        columns.append((column.cast(pa.int64()) if kind is Kind.TIME else column).to_pylist())
    return Rows(tuple(table.column_names), list(zip(*columns)))


def from_ndjson(body: bytes, kinds: Mapping[str, Kind]) -> Rows:
    """Every line must have exactly the columns of `kinds`."""
    decoder = json.JSONDecoder(parse_float=Decimal)
    rows = []
    for line in body.decode().splitlines():
        values = decoder.decode(line)
        if values.keys() != kinds.keys():
            raise Mismatch(f"NDJSON line has other columns than {', '.join(kinds)}: {line[:300]}")
        rows.append(tuple(_json_value(values[name], kind) for name, kind in kinds.items()))
    return Rows(tuple(kinds), rows)


def from_csv(body: bytes, kinds: Mapping[str, Kind]) -> Rows:
    lines = csv.reader(io.StringIO(body.decode(), newline=""))
    header = tuple(next(lines, ()))
    if header != tuple(kinds):
        raise Mismatch(f"CSV header is {header}, the columns are {tuple(kinds)}")
    order = list(kinds.values())
    rows = [
        tuple(parse(text, kind) if text else None for text, kind in zip(line, order, strict=True))
        for line in lines
    ]
    return Rows(header, rows)


def _json_value(value: Any, kind: Kind) -> Any:
    if value is None or isinstance(value, bool):
        return value
    return parse(value if isinstance(value, str) else str(value), kind)


def parse(text: str, kind: Kind) -> Any:
    match kind:
        case Kind.TIME:
            return parse_time(text)
        case Kind.DECIMAL:
            return Decimal(text)
        case Kind.INTEGER:
            return int(text)
        case Kind.FLOAT:
            return float(text)
        case Kind.BOOL:
            return {"true": True, "false": False}[text]
        case Kind.TEXT:
            return text


def parse_time(text: str) -> int:
    """RFC 3339 in UTC with up to nine decimals, or integer ns."""
    if text.lstrip("-").isdigit():
        return int(text)
    match = RFC3339.fullmatch(text)
    if match is None:
        raise Mismatch(f"`{text}` is neither RFC 3339 in UTC nor integer ns")
    whole, fraction = match.groups()
    moment = datetime.fromisoformat(whole).replace(tzinfo=timezone.utc)
    return int(moment.timestamp()) * 1_000_000_000 + int((fraction or "").ljust(9, "0"))


def check_order(keys: Sequence[Row], what: str) -> None:
    """(hlc, writer) must strictly increase."""
    for i, (one, next_) in enumerate(zip(keys, keys[1:])):
        if one >= next_:
            raise Mismatch(f"{what}: row {i + 1} has key {next_}, not above {one} before it")


def check_same(one: Rows, one_name: str, other: Rows, other_name: str) -> None:
    """Both must hold the same rows in the same order."""
    if one.columns != other.columns:
        raise Mismatch(f"{one_name} has columns {one.columns}, {other_name} {other.columns}")
    if len(one.rows) != len(other.rows):
        raise Mismatch(f"{one_name} has {len(one.rows)} rows, {other_name} {len(other.rows)}")
    for i, (row, twin) in enumerate(zip(one.rows, other.rows)):
        if row != twin:
            raise Mismatch(f"row {i}: {one_name} has {row}, {other_name} {twin}")


def check_same_multiset(got: Sequence[Row], expected: Sequence[Row], what: str) -> None:
    missing = Counter(expected)
    missing.subtract(got)
    lost = [row for row, count in missing.items() if count > 0]
    extra = [row for row, count in missing.items() if count < 0]
    if lost or extra:
        raise Mismatch(
            f"{what}: {len(lost)} rows missing, like {lost[:SHOWN]}; "
            f"{len(extra)} too many, like {extra[:SHOWN]}"
        )
