"""What each method of the clients does, as scripts. No I/O."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from . import models
from ._batches import Batcher, Data, Limits, line_batches
from ._calls import Settings, attempt, fetch_json
from ._effects import Answer, Script
from ._requests import JSON, Request, parameters, reading, stream_path
from ._sequences import FileSequences, GeneratedSequences, Lender, Sequences, checked_source
from ._sql import pin_statement, statement
from ._windows import Reading
from ._writing import WriterCore, send_points
from .errors import ConfigError
from .models import Receipt
from .options import AsofOptions, BarOptions, Names, WindowOptions, WriteOptions

T = TypeVar("T")

Columns = Mapping[str, str] | Sequence[models.Column]


def fetched(settings: Settings, path: str, parse: Callable[[Any], T]) -> Script[T]:
    body = yield from fetch_json(Request("GET", path), settings)
    return parse(body)


def streams(settings: Settings) -> Script[list[models.StreamInfo]]:
    def parse(body: Any) -> list[models.StreamInfo]:
        return [models.StreamInfo.parse(one) for one in models.member(body, "streams")]

    return fetched(settings, "/v1/streams", parse)


def writers(settings: Settings) -> Script[list[models.WriterInfo]]:
    def parse(body: Any) -> list[models.WriterInfo]:
        return [models.WriterInfo.parse(one) for one in models.member(body, "writers")]

    return fetched(settings, "/v1/writers", parse)


def stream(settings: Settings, name: str) -> Script[models.StreamInfo]:
    return fetched(settings, stream_path(name), models.StreamInfo.parse)


def partitions(settings: Settings, name: str) -> Script[models.PartitionList]:
    return fetched(settings, stream_path(name, "/partitions"), models.PartitionList.parse)


def files(settings: Settings, name: str) -> Script[models.FileList]:
    return fetched(settings, stream_path(name, "/files"), models.FileList.parse)


def is_ready() -> Script[bool]:
    """Asked once: a service that is not ready is an answer, and no failure."""
    outcome = yield from attempt(Request("GET", "/readyz"))
    return isinstance(outcome, Answer)


def create_stream(
    settings: Settings,
    name: str,
    columns: Columns | None,
    key: Names | None,
    definition: Mapping[str, Any],
) -> Script[models.StreamInfo]:
    body = {name: value for name, value in definition.items() if value is not None}
    if columns is not None:
        body["columns"] = [column.to_json() for column in as_columns(columns)]
    if key is not None:
        body["key"] = [key] if isinstance(key, str) else list(key)
    return _put(settings, name, body)


def _put(settings: Settings, name: str, body: Mapping[str, Any]) -> Script[models.StreamInfo]:
    headers = (("content-type", JSON),)
    request = Request("PUT", stream_path(name), (), headers, json.dumps(body).encode())
    return models.StreamInfo.parse((yield from fetch_json(request, settings)))


def as_columns(columns: Columns) -> list[models.Column]:
    """`{"price": "decimal(18,9)?"}`: a question mark allows rows that lack it."""
    if not isinstance(columns, Mapping):
        return list(columns)
    return [models.Column(n, t.removesuffix("?"), t.endswith("?")) for n, t in columns.items()]


def window(settings: Settings, name: str, options: Mapping[str, Any]) -> Reading:
    return Reading(reading(stream_path(name, "/window"), WindowOptions, options), settings)


def bars(settings: Settings, name: str, options: Mapping[str, Any]) -> Reading:
    return Reading(reading(stream_path(name, "/bars"), BarOptions, options), settings)


def asof(settings: Settings, left: str, right: str, options: Mapping[str, Any]) -> Reading:
    for name in (left, right):
        stream_path(name)
    request = reading("/v1/asof", AsofOptions, options)
    return Reading(request.with_param("left", left).with_param("right", right), settings)


def sql(settings: Settings, query: str, options: Mapping[str, Any]) -> Reading:
    return Reading(statement(query, options), settings, is_repeatable=False, pin=pin_statement)


def sequences(source: str | None, state: Any) -> Sequences:
    """The numbers of a writer."""
    if source is None:
        if state is not None:
            raise ConfigError("state= keeps the numbers of a source: name it with source=")
        return GeneratedSequences()
    if state is None:
        raise ConfigError(
            f"source {source!r} needs state=PATH, a file that remembers its numbers: a number that "
            "is used again stores nothing. Without source= a new name is made"
        )
    return FileSequences(source, state)


class OneNumber:
    """A source and number that the caller counts, for one batch."""

    def __init__(self, source: str, sequence: int) -> None:
        if isinstance(sequence, bool) or not 0 <= sequence < 1 << 64:
            raise ConfigError(f"sequence {sequence!r}: use an integer from 0 below 2^64")
        self.source = checked_source(source)
        self._sequence = sequence
        self._is_taken = False

    def take(self) -> int:
        if self._is_taken:
            raise ConfigError("the rows do not fit into one batch, and there is one number")
        self._is_taken = True
        return self._sequence

    def close(self) -> None:
        """There is nothing to close."""


@contextmanager
def numbered(lender: Lender, source: str | None, sequence: int | None) -> Iterator[Sequences]:
    """The caller's own numbering, or the client's."""
    if source is None and sequence is None:
        with lender.lent() as numbers:
            yield numbers
        return
    if source is None or sequence is None:
        raise ConfigError("source= and sequence= go together; without both the client counts")
    yield OneNumber(source, sequence)


def batcher(name: str, numbers: Sequences, limits: Limits, options: Mapping[str, Any]) -> Batcher:
    parameters(WriteOptions, options)
    return Batcher(name, numbers, limits, options)


def writer(
    stream: str,
    source: str | None,
    state: Any,
    limits: Limits | None,
    options: Mapping[str, Any],
    settings: Settings,
) -> tuple[WriterCore, Sequences]:
    """What is wrong is found before the numbers are locked."""
    stream_path(stream)
    parameters(WriteOptions, options)
    numbers = sequences(source, state)
    made = batcher(stream, numbers, limits or Limits(), options)
    return WriterCore(made, settings), numbers


def write(batcher: Batcher, data: Data, settings: Settings) -> Script[list[Receipt]]:
    return WriterCore(batcher, settings).write_all(data)


def write_lines(
    lines: str | Iterable[str],
    precision: str,
    numbers: Sequences,
    limits: Limits,
    settings: Settings,
) -> Script[list[Receipt]]:
    return send_points(line_batches(lines, precision, numbers, limits), settings)
