"""Arrow IPC: streams that are read piece by piece, and bodies. No I/O."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.ipc

from .errors import UnexpectedAnswer

#: Longest message; the service sends slices of some thousand rows.
MESSAGE_BYTES = 256 << 20

_CONTINUED = 0xFFFFFFFF
_PREFIX_BYTES = 8
_BODY_LENGTH_FIELD = 3


class ArrowStream:
    """Batches out of bytes as they come. pyarrow itself only reads from files."""

    def __init__(self) -> None:
        self.schema: pa.Schema | None = None
        #: Whether the end marker has come: an answer without it is not whole.
        self.is_ended = False
        self._bytes = bytearray()

    def feed(self, data: bytes) -> Iterator[pa.RecordBatch]:
        """The batches that are whole with `data`."""
        self._bytes += data
        while not self.is_ended:
            size = self._message_bytes()
            if size is None or len(self._bytes) < size:
                return
            message = bytes(memoryview(self._bytes)[:size])
            del self._bytes[:size]
            batch = self._take(message)
            if batch is not None:
                yield batch

    def _message_bytes(self) -> int | None:
        """Bytes of the next message with its body, if its head is there."""
        if len(self._bytes) < _PREFIX_BYTES:
            return None
        marker, length = struct.unpack_from("<Ii", self._bytes)
        if marker != _CONTINUED or not 0 <= length <= MESSAGE_BYTES:
            raise UnexpectedAnswer("the answer is not an Arrow stream")
        head = _PREFIX_BYTES + int(length)
        if length == 0 or len(self._bytes) < head:
            return head
        body = body_length(self._bytes, _PREFIX_BYTES)
        if not 0 <= body <= MESSAGE_BYTES:
            raise UnexpectedAnswer(f"an Arrow message of {body} bytes: at most {MESSAGE_BYTES}")
        return head + body

    def _take(self, message: bytes) -> pa.RecordBatch | None:
        if len(message) == _PREFIX_BYTES:
            self.is_ended = True
            return None
        try:
            if self.schema is None:
                self.schema = pa.ipc.read_schema(pa.py_buffer(message))
                return None
            return pa.ipc.read_record_batch(pa.py_buffer(message), self.schema)
        except (pa.ArrowException, OSError) as error:
            raise UnexpectedAnswer(f"the answer is not an Arrow stream: {error}") from error


def body_length(data: bytes | bytearray, at: int) -> int:
    """`bodyLength` of the flatbuffer `Message` that begins at `at`."""
    try:
        table = at + struct.unpack_from("<I", data, at)[0]
        fields = table - struct.unpack_from("<i", data, table)[0]
        place = fields + 4 + 2 * _BODY_LENGTH_FIELD
        size = struct.unpack_from("<H", data, fields)[0]
        offset = struct.unpack_from("<H", data, place)[0] if place < fields + size else 0
        return int(struct.unpack_from("<q", data, table + offset)[0]) if offset else 0
    except struct.error:
        raise UnexpectedAnswer("the head of an Arrow message is damaged") from None


def encode(table: pa.Table) -> bytes:
    """A table as the body of a request."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())
