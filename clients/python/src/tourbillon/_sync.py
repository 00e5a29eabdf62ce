"""Runs scripts with `httpx.Client`: the only place of the sync client that waits."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from typing import Any, TypeVar

import httpx

from ._effects import Broken, Chunk, Close, Effect, Emit, Head, Open, Reply, Script, Sleep, Source
from ._http import Address, Failure, broken, head_of
from ._requests import Request

T = TypeVar("T")


class Connection:
    """One answer at a time."""

    def __init__(self, http: httpx.Client, address: Address) -> None:
        self._http = http
        self._address = address
        self._response: httpx.Response | None = None
        self._chunks: Iterator[bytes] = iter(())

    def run(self, script: Script[T]) -> T:
        """The result of a script."""
        reply: Reply = None
        try:
            while True:
                reply = self._perform(script.send(reply))
        except StopIteration as done:
            result: T = done.value
            return result
        except BaseException:
            self.close()
            raise

    def items(self, source: Source[T]) -> Generator[T, None, None]:
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
                    reply = self._perform(effect)
        finally:
            source.close()
            self.close()

    def close(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            response.close()

    def _perform(self, effect: Effect | Emit[Any]) -> Reply:
        if isinstance(effect, Open):
            return self._open(effect.request)
        if isinstance(effect, Sleep):
            time.sleep(effect.seconds)
        elif isinstance(effect, Close):
            self.close()
        else:
            return self._read()
        return None

    def _open(self, request: Request) -> Head | Broken:
        self.close()
        built = self._http.build_request(**self._address.request_arguments(request))
        try:
            self._response = self._http.send(built, stream=True)
        except Failure as error:
            return broken(error)
        self._chunks = self._response.iter_bytes()
        return head_of(self._response)

    def _read(self) -> Chunk | Broken:
        try:
            return Chunk(next(self._chunks, b""))
        except Failure as error:
            return broken(error)
