"""The async client: the sync one with `await`. What methods mean is said there."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any

import httpx
import pyarrow as pa
from typing_extensions import Self, Unpack

from . import _plans, models
from ._async import AsyncConnection
from ._batches import Batch, Data, Limits
from ._calls import Settings
from ._frames import to_pandas, to_polars
from ._http import Address
from ._result import Described
from ._retry import Retry
from ._sequences import Lender, Sequences
from ._subscribe import Following
from ._windows import Reading, Told
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


class AsyncClosing:
    """Something to be closed, also by `async with`."""

    async def close(self) -> None:
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self.close()


class AsyncResult(Described, AsyncClosing):
    """Rows as they come: iterate for record batches, once, or take them whole."""

    def __init__(
        self, connection: AsyncConnection, reading: Reading, told: Told, schema: pa.Schema
    ) -> None:
        super().__init__(told, schema)
        self._batches = connection.items(reading.batches())
        self._connection = connection

    @classmethod
    async def open(cls, connection: AsyncConnection, reading: Reading) -> Self:
        told, schema = await connection.run(reading.begin())
        return cls(connection, reading, told, schema)

    def __aiter__(self) -> AsyncIterator[pa.RecordBatch]:
        self._is_taken = True
        return self._batches

    async def close(self) -> None:
        await self._batches.aclose()
        await self._connection.close()

    async def to_arrow(self) -> pa.Table:
        self._take_whole()
        return pa.Table.from_batches([batch async for batch in self._batches], self.schema)

    async def to_pandas(self) -> pd.DataFrame:
        return to_pandas(await self.to_arrow())

    async def to_polars(self) -> pl.DataFrame:
        return to_polars(await self.to_arrow())


class AsyncSubscription(AsyncClosing):
    """Events without end. `cursor` is the place after the last one that was handed out."""

    def __init__(self, connection: AsyncConnection, following: Following) -> None:
        self._following = following
        self._connection = connection
        self._events = connection.items(following.events())

    @property
    def cursor(self) -> str | None:
        return self._following.cursor

    @property
    def connections(self) -> int:
        return self._following.connections

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        return await anext(self._events)

    async def close(self) -> None:
        await self._events.aclose()
        await self._connection.close()


class AsyncWriter(Unsent, AsyncClosing):
    """Collects rows into batches and stores each once. May be used by several tasks."""

    def __init__(self, connection: AsyncConnection, core: WriterCore, sequences: Sequences) -> None:
        self._connection = connection
        self._core = core
        self._sequences = sequences
        self._lock = asyncio.Lock()

    @property
    def source(self) -> str:
        return self._sequences.source

    @property
    def pending(self) -> tuple[Batch, ...]:
        return self._core.pending

    @property
    def waiting_rows(self) -> int:
        return self._core.waiting_rows

    async def write(self, data: Data) -> list[Receipt]:
        async with self._lock:
            return await self._connection.run(self._core.write(data))

    async def flush(self) -> list[Receipt]:
        async with self._lock:
            return await self._connection.run(self._core.flush())

    async def discard(self) -> tuple[Batch, ...]:
        async with self._lock:
            return self._core.discard()

    async def close(self) -> None:
        try:
            await self.flush()
        finally:
            await self._connection.close()
            self._sequences.close()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        try:
            await self.close()
        except TourbillonError as failed:
            if error is None:
                raise
            _log.error("rows were left when the writer closed: %s", failed)


class AsyncClient(AsyncClosing):
    """A service of Tourbillon, for asyncio."""

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
        self._http = httpx.AsyncClient(**self._address.client_arguments())
        self._lender = Lender()

    def __repr__(self) -> str:
        return f"AsyncClient({self._address!r})"

    async def close(self) -> None:
        await self._http.aclose()

    def _connection(self) -> AsyncConnection:
        return AsyncConnection(self._http, self._address)

    async def is_ready(self) -> bool:
        return await self._connection().run(_plans.is_ready())

    async def streams(self) -> list[models.StreamInfo]:
        return await self._connection().run(_plans.streams(self._settings))

    async def stream(self, name: str) -> models.StreamInfo:
        return await self._connection().run(_plans.stream(self._settings, name))

    async def create_stream(
        self,
        name: str,
        columns: _plans.Columns | None = None,
        *,
        key: Names | None = None,
        **definition: Any,
    ) -> models.StreamInfo:
        return await self._connection().run(
            _plans.create_stream(self._settings, name, columns, key, definition)
        )

    async def partitions(self, stream: str) -> models.PartitionList:
        return await self._connection().run(_plans.partitions(self._settings, stream))

    async def files(self, stream: str) -> models.FileList:
        return await self._connection().run(_plans.files(self._settings, stream))

    async def writers(self) -> list[models.WriterInfo]:
        return await self._connection().run(_plans.writers(self._settings))

    def writer(
        self,
        stream: str,
        *,
        source: str | None = None,
        state: str | os.PathLike[str] | None = None,
        limits: Limits | None = None,
        **options: Unpack[WriteOptions],
    ) -> AsyncWriter:
        made = _plans.writer(stream, source, state, limits, options, self._settings)
        return AsyncWriter(self._connection(), *made)

    async def write(
        self,
        stream: str,
        data: Data,
        *,
        source: str | None = None,
        sequence: int | None = None,
        limits: Limits | None = None,
        **options: Unpack[WriteOptions],
    ) -> list[Receipt]:
        with _plans.numbered(self._lender, source, sequence) as numbers:
            batcher = _plans.batcher(stream, numbers, limits or Limits(), options)
            script = _plans.write(batcher, data, self._settings)
            return await self._connection().run(script)

    async def write_lines(
        self,
        lines: str | Iterable[str],
        *,
        precision: str = "ns",
        source: str | None = None,
        sequence: int | None = None,
        limits: Limits | None = None,
    ) -> list[Receipt]:
        bounds = limits or Limits()
        with _plans.numbered(self._lender, source, sequence) as numbers:
            script = _plans.write_lines(lines, precision, numbers, bounds, self._settings)
            return await self._connection().run(script)

    async def resend(self, batches: Iterable[Batch]) -> list[Receipt]:
        return await self._connection().run(resend(batches, self._settings))

    async def window(self, stream: str, **options: Unpack[WindowOptions]) -> AsyncResult:
        reading = _plans.window(self._settings, stream, options)
        return await AsyncResult.open(self._connection(), reading)

    async def pages(
        self, stream: str, **options: Unpack[PageOptions]
    ) -> AsyncIterator[AsyncResult]:
        page: WindowOptions = {**options}
        while True:
            async with await self.window(stream, **page) as result:
                yield result
                cursor = result.next_cursor
            if cursor is None:
                return
            page["cursor"] = cursor

    async def bars(self, stream: str, **options: Unpack[BarOptions]) -> AsyncResult:
        reading = _plans.bars(self._settings, stream, options)
        return await AsyncResult.open(self._connection(), reading)

    async def asof(self, left: str, right: str, **options: Unpack[AsofOptions]) -> AsyncResult:
        reading = _plans.asof(self._settings, left, right, options)
        return await AsyncResult.open(self._connection(), reading)

    async def sql(self, query: str, **options: Unpack[SqlOptions]) -> AsyncResult:
        reading = _plans.sql(self._settings, query, options)
        return await AsyncResult.open(self._connection(), reading)

    async def subscribe(
        self, stream: str, **options: Unpack[SubscribeOptions]
    ) -> AsyncSubscription:
        following = Following(stream, dict(options), self._settings)
        connection = self._connection()
        await connection.run(following.begin())
        return AsyncSubscription(connection, following)
