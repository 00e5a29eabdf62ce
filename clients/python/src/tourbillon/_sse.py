"""Server-sent events, piece by piece. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .errors import UnexpectedAnswer

#: Longest event.
EVENT_BYTES = 64 << 20


@dataclass(frozen=True)
class ServerEvent:
    """An event that came whole: one that was cut off is none."""

    name: str
    id: str
    data: str


class EventParser:
    """Events out of bytes; lines end with LF or CR LF."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._looked_at = 0
        self._clear()

    def _clear(self) -> None:
        self._name, self._id = "message", ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, data: bytes) -> Iterator[ServerEvent]:
        """The events that are whole with `data`."""
        self._bytes += data
        begin = 0
        while (end := self._bytes.find(b"\n", max(begin, self._looked_at))) >= 0:
            line = self._bytes[begin:end].decode("utf-8", "strict").removesuffix("\r")
            begin = end + 1
            event = self._line(line)
            if event is not None:
                yield event
        del self._bytes[:begin]
        self._looked_at = len(self._bytes)
        if self._looked_at + self._size > EVENT_BYTES:
            raise UnexpectedAnswer(f"an event is longer than {EVENT_BYTES} bytes")

    def _line(self, line: str) -> ServerEvent | None:
        if not line:
            event = ServerEvent(self._name, self._id, "\n".join(self._data))
            is_event = bool(self._data)
            self._clear()
            return event if is_event else None
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._name = value
        elif name == "id":
            self._id = value
        elif name == "data":
            self._data.append(value)
            self._size += len(value)
        return None
