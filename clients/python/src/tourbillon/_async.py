"""Runs scripts with `httpx.AsyncClient`: the only place of the async client that waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, TypeVar

import httpx

from ._effects import Broken, Chunk, Close, Effect, Emit, Head, Open, Reply, Script, Sleep, Source
from ._http import Address, Failure, broken, head_of
from ._requests import Request

T = TypeVar("T")


class AsyncConnection:
    """One answer at a time."""

    def __init__(self, http: httpx.AsyncClient, address: Address) -> None:
        self._http = http
        self._address = address
        self._response: httpx.Response | None = None
        self._chunks: AsyncIterator[bytes] | None = None

    async def run(self, script: Script[T]) -> T:
        """The result of a script."""
        reply: Reply = None
        try:
            while True:
                try:
                    effect = script.send(reply)
                except StopIteration as done:
                    result: T = done.value
                    return result
                reply = await self._perform(effect)
        except BaseException:
            script.close()
            await self.close()
            raise

    async def items(self, source: Source[T]) -> AsyncGenerator[T, None]:
        """The items of a source; the answer is closed when they end, or are let go."""
        reply: Reply = None
        try:
            while True:
                try:
                    effect = source.send(reply)
                except StopIteration:
                    return
                if isinstance(effect, Emit):
                    reply = None
                    yield effect.item
                else:
                    reply = await self._perform(effect)
        finally:
            source.close()
            await self.close()

    async def close(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            await response.aclose()

    async def _perform(self, effect: Effect | Emit[Any]) -> Reply:
        if isinstance(effect, Open):
            return await self._open(effect.request)
        if isinstance(effect, Sleep):
            await asyncio.sleep(effect.seconds)
        elif isinstance(effect, Close):
            await self.close()
        else:
            return await self._read()
        return None

    async def _open(self, request: Request) -> Head | Broken:
        await self.close()
        built = self._http.build_request(**self._address.request_arguments(request))
        try:
            self._response = await self._http.send(built, stream=True)
        except Failure as error:
            return broken(error)
        self._chunks = self._response.aiter_bytes()
        return head_of(self._response)

    async def _read(self) -> Chunk | Broken:
        if self._chunks is None:
            return Chunk(b"")
        try:
            return Chunk(await anext(self._chunks, b""))
        except Failure as error:
            return broken(error)
