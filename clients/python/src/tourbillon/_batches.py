"""Rows into batches: bounded, in order, each under a number of its own. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from . import _arrow, _rows
from ._frames import as_table, sliceable
from ._requests import ARROW, Request, stream_path
from ._sequences import Sequences
from .errors import ConfigError

NDJSON = "application/x-ndjson"

#: What `write` takes: a row, rows, or columnar data of pyarrow, pandas, polars and their like.
Data = Any


@dataclass(frozen=True)
class Batch:
    """A request to be, the same in every repeat. `first_row` rows were given before its own."""

    request: Request = field(repr=False)
    source: str
    sequence: int
    rows: int
    first_row: int = 0


@dataclass(frozen=True)
class Limits:
    """Bounds of a batch. One row may be longer than `most_bytes`: then it goes alone."""

    most_rows: int = 10_000
    most_bytes: int = 4 << 20

    def __post_init__(self) -> None:
        if self.most_rows < 1 or self.most_bytes < 1:
            raise ConfigError("a batch has at least one row and one byte")


class Batcher:
    """Takes data and gives batches; rows that do not fill one wait."""

    def __init__(
        self, stream: str, sequences: Sequences, limits: Limits, options: Mapping[str, Any]
    ) -> None:
        self._path = stream_path(stream, "/events")
        self._sequences = sequences
        self._limits = limits
        self._on_error = options.get("on_error")
        self._hlc = options.get("hlc")
        self._lines: list[bytes] = []
        self._bytes = 0
        self._given = 0

    @property
    def waiting_rows(self) -> int:
        return len(self._lines)

    @property
    def taken_rows(self) -> int:
        """All rows so far that are in batches, or wait for one."""
        return self._given + len(self._lines)

    def add(self, data: Data) -> Iterator[Batch]:
        """Full batches, made one by one as they are asked for."""
        table = as_table(data)
        if table is not None:
            yield from self.rest()
            for body, rows in _slices(table, self._limits):
                yield self._batch(ARROW, body, rows)
            return
        for number, row in enumerate([data] if isinstance(data, Mapping) else _iterable(data), 1):
            yield from self._add_line(_rows.line(row, number))

    def _add_line(self, line: bytes) -> Iterator[Batch]:
        if self._lines and self._bytes + len(line) > self._limits.most_bytes:
            yield from self.rest()
        self._lines.append(line)
        self._bytes += len(line)
        if len(self._lines) >= self._limits.most_rows:
            yield from self.rest()

    def rest(self) -> list[Batch]:
        """The rows that wait, as a batch."""
        if not self._lines:
            return []
        batch = self._batch(NDJSON, b"".join(self._lines), len(self._lines))
        self._lines, self._bytes = [], 0
        return [batch]

    def _batch(self, kind: str, body: bytes, rows: int) -> Batch:
        sequence = self._sequences.take()
        headers = identity(self._sequences.source, sequence, kind)
        if self._hlc is not None:
            headers = (*headers, ("tourbillon-hlc", str(int(self._hlc))))
        params = (("on_error", self._on_error),) if self._on_error else ()
        request = Request("POST", self._path, params, headers, body)
        first, self._given = self._given, self._given + rows
        return Batch(request, self._sequences.source, sequence, rows, first)


def identity(source: str, sequence: int, kind: str) -> tuple[tuple[str, str], ...]:
    return (
        ("content-type", kind),
        ("tourbillon-source", source),
        ("tourbillon-sequence", str(sequence)),
    )


def _iterable(data: Data) -> Iterable[Any]:
    if isinstance(data, str | bytes) or not isinstance(data, Iterable):
        raise ConfigError(
            f"rows are mappings or a frame, not a {type(data).__name__}; line protocol goes "
            "through write_lines()"
        )
    return data


def _slices(table: pa.Table, limits: Limits) -> Iterator[tuple[bytes, int]]:
    """Bodies within the limits, in order."""
    if table.num_rows == 0:
        return
    table = sliceable(table, limits.most_bytes // 8)
    row_bytes = max(1, table.nbytes // table.num_rows)
    step = max(1, min(limits.most_rows, limits.most_bytes // row_bytes))
    for start in range(0, table.num_rows, step):
        yield from _halves(table.slice(start, step), limits.most_bytes)


def _halves(part: pa.Table, most_bytes: int) -> Iterator[tuple[bytes, int]]:
    body = _arrow.encode(part)
    if len(body) <= most_bytes or part.num_rows == 1:
        yield body, part.num_rows
        return
    middle = part.num_rows // 2
    yield from _halves(part.slice(0, middle), most_bytes)
    yield from _halves(part.slice(middle), most_bytes)


def line_batches(
    lines: str | Iterable[str], precision: str, sequences: Sequences, limits: Limits
) -> Iterator[Batch]:
    """Line protocol: text is one batch, since only the service knows where a point ends in it;
    of separate points as many go together as the limits allow."""
    given = 0
    for points in [[lines]] if isinstance(lines, str) else _grouped(lines, limits):
        sequence = sequences.take()
        headers = identity(sequences.source, sequence, "text/plain; charset=utf-8")
        body = "\n".join(points).encode()
        request = Request("POST", "/write", (("precision", precision),), headers, body)
        rows = len(points) if not isinstance(lines, str) else lines.count("\n") + 1
        yield Batch(request, sequences.source, sequence, rows, given)
        given += rows


def _grouped(lines: Iterable[str], limits: Limits) -> Iterator[list[str]]:
    group: list[str] = []
    size = 0
    for line in lines:
        length = len(line.encode()) + 1
        if group and (len(group) >= limits.most_rows or size + length > limits.most_bytes):
            yield group
            group, size = [], 0
        group.append(line)
        size += length
    if group:
        yield group
