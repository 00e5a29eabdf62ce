"""What the logic asks the outside for.

Everything that needs the network is a script: a generator that yields effects and is sent their
replies. Scripts do no I/O, so the sync and the async client run the very same ones, and tests run
them against made-up replies.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from ._requests import Request
from .errors import UnexpectedAnswer

T = TypeVar("T")


@dataclass(frozen=True)
class Open:
    """Send a request; reply: `Head` or `Broken`. An answer that is still open is closed."""

    request: Request


@dataclass(frozen=True)
class Read:
    """The next bytes of the answer; reply: `Chunk`, the last one empty, or `Broken`."""


@dataclass(frozen=True)
class Close:
    """Close the answer; no reply."""


@dataclass(frozen=True)
class Sleep:
    """Wait; no reply."""

    seconds: float


@dataclass(frozen=True)
class Emit(Generic[T]):
    """Hand an item to the caller; no reply."""

    item: T


@dataclass(frozen=True)
class Head:
    """Status and headers of an answer; names are in lower case."""

    status: int
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Chunk:
    """Bytes of an answer; empty at its end."""

    data: bytes


@dataclass(frozen=True)
class Broken:
    """The connection failed. `is_ambiguous`: the request may have been carried out."""

    reason: str
    is_ambiguous: bool


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    head: Head
    body: bytes


Effect = Open | Read | Close | Sleep
Reply = Head | Chunk | Broken | None
#: Logic that comes to a result.
Script = Generator[Effect, Reply, T]
#: Logic that also hands out items on the way.
Source = Generator[Effect | Emit[T], Reply, None]


def opened(request: Request) -> Script[Head | Broken]:
    reply = yield Open(request)
    assert isinstance(reply, Head | Broken), reply  # noqa: S101
    return reply


def read() -> Script[bytes | Broken]:
    reply = yield Read()
    assert isinstance(reply, Chunk | Broken), reply  # noqa: S101
    return reply.data if isinstance(reply, Chunk) else reply


def rest(limit: int) -> Script[bytes | Broken]:
    """What is left of the answer, which must not be longer than `limit` bytes."""
    parts: list[bytes] = []
    size = 0
    while True:
        data = yield from read()
        if isinstance(data, Broken):
            return data
        if not data:
            yield Close()
            return b"".join(parts)
        size += len(data)
        if size > limit:
            yield Close()
            raise UnexpectedAnswer(f"the answer is longer than {limit} bytes")
        parts.append(data)
