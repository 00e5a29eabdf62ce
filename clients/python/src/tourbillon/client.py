"""The sync client."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

import httpx
import pyarrow as pa
from typing_extensions import Self, Unpack

from . import _plans, models
from ._batches import Batch, Data, Limits
from ._calls import Settings
from ._frames import to_pandas, to_polars
from ._http import Address
from ._result import Described
from ._retry import Retry
from ._sequences import Lender, Sequences
from ._subscribe import Following
from ._sync import Connection
from ._windows import Reading
from ._writing import Unsent, WriterCore, resend
from .errors import TourbillonError
from .events import Event
from .models import Receipt
from .options import (
    AsofOptions,
    BarOptions,
    Names,
    PageOptions,
    SqlOptions,
    SubscribeOptions,
    WindowOptions,
    WriteOptions,
)

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

_log = logging.getLogger("tourbillon")


class Closing:
    """Something to be closed, also by `with`."""

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()


class Result(Described, Closing):
    """Rows as they come: iterate for record batches, once, or take them whole.

    It holds a connection until its rows are read or it is closed.
    """

    def __init__(self, connection: Connection, reading: Reading) -> None:
        super().__init__(*connection.run(reading.begin()))
        self._batches = connection.items(reading.batches())
        self._connection = connection

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        self._is_taken = True
        return self._batches

    def close(self) -> None:
        self._batches.close()
        self._connection.close()

    def to_reader(self) -> pa.RecordBatchReader:
        """For what reads Arrow streams, such as DuckDB: memory stays bounded."""
        self._take_whole()
        return pa.RecordBatchReader.from_batches(self.schema, self._batches)

    def to_arrow(self) -> pa.Table:
        self._take_whole()
        return pa.Table.from_batches(list(self._batches), self.schema)

    def to_pandas(self) -> pd.DataFrame:
        return to_pandas(self.to_arrow())

    def to_polars(self) -> pl.DataFrame:
        return to_polars(self.to_arrow())


class Subscription(Closing):
    """Events without end. `cursor` is the place after the last one that was handed out."""

    def __init__(self, connection: Connection, following: Following) -> None:
        connection.run(following.begin())
        self._following = following
        self._connection = connection
        self._events = connection.items(following.events())

    @property
    def cursor(self) -> str | None:
        return self._following.cursor

    @property
    def connections(self) -> int:
        """How many connections it took so far."""
        return self._following.connections

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        return next(self._events)

    def close(self) -> None:
        self._events.close()
        self._connection.close()


class Writer(Unsent, Closing):
    """Collects rows into batches and stores each once, also when it has to be sent again.

    May be used by several threads. Leaving `with` sends what is left.
    """

    def __init__(self, connection: Connection, core: WriterCore, sequences: Sequences) -> None:
        self._connection = connection
        self._core = core
        self._sequences = sequences
        self._lock = threading.Lock()

    @property
    def source(self) -> str:
        return self._sequences.source

    @property
    def pending(self) -> tuple[Batch, ...]:
        """Batches without an acknowledgement, after an error."""
        return self._core.pending

    @property
    def waiting_rows(self) -> int:
        """Rows that wait for a batch to fill."""
        return self._core.waiting_rows

    def write(self, data: Data) -> list[Receipt]:
        """Takes a row, rows or a frame, and sends the batches that are full.

        Of an error, `taken` says how many of these rows the writer has. They are stored, refused
        or pending, and `flush` sends the last again; go on with the rows after them.
        """
        with self._lock:
            return self._connection.run(self._core.write(data))

    def flush(self) -> list[Receipt]:
        """Sends all that was taken, and what an error left behind."""
        with self._lock:
            return self._connection.run(self._core.flush())

    def discard(self) -> tuple[Batch, ...]:
        """Gives up all that is not acknowledged, and returns it."""
        with self._lock:
            return self._core.discard()

    def close(self) -> None:
        try:
            self.flush()
        finally:
            self._connection.close()
            self._sequences.close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except TourbillonError as failed:
            if error is None:
                raise
            # the error that ends the block is the one to be seen
            _log.error("rows were left when the writer closed: %s", failed)


class Client(Closing):
    """A service of Tourbillon. May be used by several threads.

    `token` goes into the `Authorization` header. `timeout_s` bounds each silence of the service,
    `retry` all attempts of a request together. `compress` asks for gzip answers.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout_s: float = 30.0,
        retry: Retry | None = None,
        compress: bool = False,
    ) -> None:
        self._address = Address(url, token, timeout_s, compress)
        self._settings = Settings(retry or Retry())
        self._http = httpx.Client(**self._address.client_arguments())
        self._lender = Lender()

    def __repr__(self) -> str:
        return f"Client({self._address!r})"

    def close(self) -> None:
        self._http.close()

    def _connection(self) -> Connection:
        return Connection(self._http, self._address)

    # what there is

    def is_ready(self) -> bool:
        """Whether the service takes requests; asked once."""
        return self._connection().run(_plans.is_ready())

    def streams(self) -> list[models.StreamInfo]:
        return self._connection().run(_plans.streams(self._settings))

    def stream(self, name: str) -> models.StreamInfo:
        return self._connection().run(_plans.stream(self._settings, name))

    def create_stream(
        self,
        name: str,
        columns: _plans.Columns | None = None,
        *,
        key: Names | None = None,
        **definition: Any,
    ) -> models.StreamInfo:
        """Makes a stream, or adds columns and partitions to one.

        `columns` are `{"price": "decimal(18,9)?"}`, with `?` where rows may lack it, or `Column`s;
        the rest is as in the service's definition: event_time, partitions, window, compaction,
        retention.
        """
        return self._connection().run(
            _plans.create_stream(self._settings, name, columns, key, definition)
        )

    def partitions(self, stream: str) -> models.PartitionList:
        return self._connection().run(_plans.partitions(self._settings, stream))

    def files(self, stream: str) -> models.FileList:
        return self._connection().run(_plans.files(self._settings, stream))

    def writers(self) -> list[models.WriterInfo]:
        return self._connection().run(_plans.writers(self._settings))

    # writing

    def writer(
        self,
        stream: str,
        *,
        source: str | None = None,
        state: str | os.PathLike[str] | None = None,
        limits: Limits | None = None,
        **options: Unpack[WriteOptions],
    ) -> Writer:
        """A writer. `source` names it and needs `state`, a file that keeps its numbers."""
        made = _plans.writer(stream, source, state, limits, options, self._settings)
        return Writer(self._connection(), *made)

    def write(
        self,
        stream: str,
        data: Data,
        *,
        source: str | None = None,
        sequence: int | None = None,
        limits: Limits | None = None,
        **options: Unpack[WriteOptions],
    ) -> list[Receipt]:
        """Stores rows once, in as many batches as it takes, and returns their receipts.

        With the caller's own `source` and `sequence` they are one batch. After an error,
        `resend(error.pending)` and the rows from `error.taken` on are left to do.
        """
        with _plans.numbered(self._lender, source, sequence) as numbers:
            batcher = _plans.batcher(stream, numbers, limits or Limits(), options)
            script = _plans.write(batcher, data, self._settings)
            return self._connection().run(script)

    def write_lines(
        self,
        lines: str | Iterable[str],
        *,
        precision: str = "ns",
        source: str | None = None,
        sequence: int | None = None,
        limits: Limits | None = None,
    ) -> list[Receipt]:
        """Stores points of InfluxDB's line protocol: text goes as one batch, separate points in
        as many as it takes."""
        bounds = limits or Limits()
        with _plans.numbered(self._lender, source, sequence) as numbers:
            script = _plans.write_lines(lines, precision, numbers, bounds, self._settings)
            return self._connection().run(script)

    def resend(self, batches: Iterable[Batch]) -> list[Receipt]:
        """Sends batches of an error again, under their own numbers."""
        return self._connection().run(resend(batches, self._settings))

    # reading

    def window(self, stream: str, **options: Unpack[WindowOptions]) -> Result:
        """Rows of a stream in order. docs/API.md has the parameters."""
        return Result(self._connection(), _plans.window(self._settings, stream, options))

    def pages(self, stream: str, **options: Unpack[PageOptions]) -> Iterator[Result]:
        """Windows of at most `limit` rows, one after the other under one snapshot."""
        page: WindowOptions = {**options}
        while True:
            with self.window(stream, **page) as result:
                yield result
                cursor = result.next_cursor
            if cursor is None:
                return
            page["cursor"] = cursor

    def bars(self, stream: str, **options: Unpack[BarOptions]) -> Result:
        """Open, high, low, close and volume of each interval and key."""
        return Result(self._connection(), _plans.bars(self._settings, stream, options))

    def asof(self, left: str, right: str, **options: Unpack[AsofOptions]) -> Result:
        """Each row of `left` with the newest row of `right` that is not later."""
        return Result(self._connection(), _plans.asof(self._settings, left, right, options))

    def sql(self, query: str, **options: Unpack[SqlOptions]) -> Result:
        """The answer to a statement over all streams."""
        return Result(self._connection(), _plans.sql(self._settings, query, options))

    def subscribe(self, stream: str, **options: Unpack[SubscribeOptions]) -> Subscription:
        """History and then live. It is open when this returns, so nothing that comes is missed."""
        following = Following(stream, dict(options), self._settings)
        return Subscription(self._connection(), following)
