"""Runs scripts against made-up replies: a network that does what the test says."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tourbillon._calls import Settings
from tourbillon._effects import Broken, Chunk, Close, Emit, Head, Open, Read, Reply, Sleep
from tourbillon._requests import Request
from tourbillon._retry import Chance, Retry

T = TypeVar("T")

Step = tuple[Head | Broken, list[bytes | Broken]]


class Clock:
    """Time that passes only when a script sleeps, and a chance that is always the same."""

    def __init__(self) -> None:
        self.now = 1000.0

    def settings(self, **retry: float) -> Settings:
        return Settings(Retry(**retry), Chance(lambda: self.now, lambda: 1.0))


@dataclass
class Stage:
    """The answers that come, in order, and what was asked for."""

    steps: list[Step]
    clock: Clock = field(default_factory=Clock)
    requests: list[Request] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    items: list[Any] = field(default_factory=list)
    _chunks: list[bytes | Broken] = field(default_factory=list)

    def run(self, script: Generator[Any, Reply, T], most_items: int | None = None) -> T | None:
        reply: Reply = None
        while True:
            try:
                effect = script.send(reply)
            except StopIteration as done:
                result: T = done.value
                return result
            reply = self._reply(effect)
            if most_items is not None and len(self.items) >= most_items:
                script.close()
                return None

    def _reply(self, effect: Any) -> Reply:
        if isinstance(effect, Open):
            self.requests.append(effect.request)
            head, self._chunks = self.steps.pop(0)
            self._chunks = list(self._chunks)
            return head
        if isinstance(effect, Read):
            data = self._chunks.pop(0) if self._chunks else b""
            return data if isinstance(data, Broken) else Chunk(data)
        if isinstance(effect, Sleep):
            self.pauses.append(effect.seconds)
            self.clock.now += effect.seconds
        elif isinstance(effect, Emit):
            self.items.append(effect.item)
        else:
            assert isinstance(effect, Close)
        return None


def ok(body: bytes | Iterable[bytes | Broken] = b"", **headers: str) -> Step:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    chunks: list[bytes | Broken] = [body] if isinstance(body, bytes) else list(body)
    return Head(200, names), chunks


def answer(value: Any) -> Step:
    return ok(json.dumps(value).encode())


def problem(status: int, retry_after: str | None = None, **members: Any) -> Step:
    headers = {} if retry_after is None else {"retry-after": retry_after}
    body = {"title": "T", "status": status, "detail": "why", **members}
    return Head(status, headers), [json.dumps(body).encode()]


def lost(is_ambiguous: bool = True) -> Step:
    return Broken("reset", is_ambiguous), []
