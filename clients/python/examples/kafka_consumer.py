"""Decodes the frames of a stream straight from Kafka.

    python kafka_consumer.py BROKERS STREAM [--prefix tourbillon] [--follow] [--limit N]

Prints the rows of DATA frames as JSON lines, those of a partition in order, up to the end of the
log, or with --follow as they come. This shows the wire format (docs/PROTOCOL.md, 3, and the head of
core/src/frame/mod.rs). It is not what readers of the service see: frames that a partition refuses,
and repeats of requests that it knows, are in the log and not in windows. The client's `subscribe`
gives each row once.
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import crc32c
import pyarrow as pa
import pyarrow.ipc
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

KINDS = {1: "open", 2: "data", 3: "beat", 4: "close", 5: "fence"}
MAGIC, VERSION = b"TBF", 1
# version, kind, flags, source count, crc, body start, writer, schema version, pseq,
# first and last stamp, rows, cut
HEADER = struct.Struct("<3sBBBHIIIIQqqII")
# sequence, part, rows, last, length of the name
SOURCE = struct.Struct("<QIIBB")
CRC_AT, CRC_END = 8, 12
CONTIGUOUS = 1
END_OF_STREAM = struct.pack("<Ii", 0xFFFFFFFF, 0)
TIMEOUT_S = 20.0
CONTROL = "_control"

TYPES = {
    "string": pa.dictionary(pa.int32(), pa.string()),
    "timestamp": pa.timestamp("ns", "UTC"),
    "int64": pa.int64(),
    "uint64": pa.uint64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
}


class FrameError(ValueError):
    """A record that is not a whole frame of this format."""


@dataclass(frozen=True)
class Source:
    """Rows of one client request: what makes a repeat known."""

    name: str
    sequence: int
    part: int
    rows: int
    is_last: bool


@dataclass(frozen=True)
class Frame:
    kind: str
    writer: int
    schema_version: int
    pseq: int
    first_hlc: int
    last_hlc: int
    rows: int
    cut: int
    is_contiguous: bool
    sources: tuple[Source, ...]
    body: bytes = field(repr=False)


def decode_frame(record: bytes) -> Frame:
    """Checks and splits a record."""
    if len(record) < HEADER.size or record[:3] != MAGIC:
        raise FrameError("the record is not a frame")
    (_, version, kind, flags, count, checksum, start, *numbers) = HEADER.unpack_from(record)
    if version != VERSION:
        raise FrameError(f"the frame has format version {version}, this reads {VERSION}")
    if checksum != crc32c.crc32c(record[CRC_END:], crc32c.crc32c(record[:CRC_AT])):
        raise FrameError("the frame's checksum does not match its bytes")
    writer, schema_version, pseq, first, last, rows, cut = numbers
    return Frame(
        kind=KINDS[kind],
        writer=writer,
        schema_version=schema_version,
        pseq=pseq,
        first_hlc=first,
        last_hlc=last,
        rows=rows,
        cut=cut,
        is_contiguous=bool(flags & CONTIGUOUS),
        sources=tuple(_sources(record[HEADER.size : start], count)),
        body=record[start:],
    )


def _sources(data: bytes, count: int) -> Iterator[Source]:
    at = 0
    for _ in range(count):
        sequence, part, rows, last, length = SOURCE.unpack_from(data, at)
        at += SOURCE.size
        yield Source(data[at : at + length].decode(), sequence, part, rows, bool(last))
        at += length


def schema_of(definition: dict[str, Any], is_contiguous: bool) -> pa.Schema:
    """The Arrow schema of a DATA body, which the frame itself does not carry."""
    delta = [] if is_contiguous else [pa.field("hlc_delta", pa.uint32(), nullable=False)]
    own = [pa.field(c["name"], _type(c["type"]), c["nullable"]) for c in definition["columns"]]
    return pa.schema(delta + own)


def _type(name: str) -> pa.DataType:
    if name.startswith("decimal("):
        precision, scale = name.removeprefix("decimal(").removesuffix(")").split(",")
        return pa.decimal128(int(precision), int(scale))
    return TYPES[name]


def decode_rows(frame: Frame, definition: dict[str, Any]) -> pa.Table:
    """The rows of a DATA frame with their stamps and writer."""
    schema = schema_of(definition, frame.is_contiguous)
    # the messages of a body need the schema message before them to be a stream
    stream = schema.serialize().to_pybytes() + frame.body + END_OF_STREAM
    rows = pa.ipc.open_stream(stream).read_all()
    if rows.num_rows != frame.rows:
        raise FrameError(f"the frame promises {frame.rows} rows and has {rows.num_rows}")
    deltas = range(frame.rows)
    if not frame.is_contiguous:
        deltas = rows.column("hlc_delta").to_pylist()
        rows = rows.drop_columns("hlc_delta")
    stamps = pa.array([frame.first_hlc + delta for delta in deltas], TYPES["timestamp"])
    writers = pa.array([frame.writer] * frame.rows, pa.uint32())
    return rows.add_column(0, "writer", writers).add_column(0, "hlc", stamps)


def assigned(brokers: str, topic: str) -> tuple[Consumer, int]:
    """A consumer of all partitions from their beginning, in no group, and their number."""
    settings = {
        "bootstrap.servers": brokers,
        "group.id": "frames",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
    }
    consumer = Consumer(settings)
    found = consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic]
    if found.error is not None:
        raise SystemExit(f"{topic}: {found.error}")
    partitions = [TopicPartition(topic, p, OFFSET_BEGINNING) for p in found.partitions]
    consumer.assign(partitions)
    return consumer, len(partitions)


@dataclass(frozen=True)
class Record:
    partition: int
    offset: int
    value: bytes = field(repr=False)


def records(brokers: str, topic: str, is_following: bool) -> Iterator[Record]:
    """Records up to the end that the partitions have now, or on and on."""
    consumer, open_partitions = assigned(brokers, topic)
    try:
        while is_following or open_partitions:
            message = consumer.poll(TIMEOUT_S)
            if message is None:
                if not is_following:
                    raise SystemExit(f"{topic}: nothing came for {TIMEOUT_S:.0f} s")
                continue
            error = message.error()
            if error is None:
                place = message.partition() or 0, message.offset() or 0
                yield Record(*place, message.value() or b"")
            elif error.code() == KafkaError._PARTITION_EOF:
                open_partitions -= 1
            else:
                raise SystemExit(f"{topic}: {error}")
    finally:
        consumer.close()


def definitions(brokers: str, prefix: str, stream: str) -> dict[int, dict[str, Any]]:
    """The stream's definitions, from the control topic; the first of a version counts."""
    found: dict[int, dict[str, Any]] = {}
    for record in records(brokers, f"{prefix}.{CONTROL}", is_following=False):
        told = json.loads(record.value)
        if told["kind"] == "stream" and told["name"] == stream:
            found.setdefault(told["version"], told)
    return found


def rows_of(brokers: str, prefix: str, stream: str, is_following: bool) -> Iterator[dict[str, Any]]:
    known = definitions(brokers, prefix, stream)
    for record in records(brokers, f"{prefix}.{stream}", is_following):
        frame = decode_frame(record.value)
        if frame.kind != "data":
            continue
        if frame.schema_version not in known:
            known = definitions(brokers, prefix, stream)
        table = decode_rows(frame, known[frame.schema_version])
        place = {"partition": record.partition, "log_offset": record.offset}
        for row in table.to_pylist():
            yield place | row


def main() -> None:
    parser = argparse.ArgumentParser(description="Decode the frames of a stream.")
    parser.add_argument("brokers")
    parser.add_argument("stream")
    parser.add_argument("--prefix", default="tourbillon")
    parser.add_argument("--follow", action="store_true")
    parser.add_argument("--limit", type=int)
    asked = parser.parse_args()
    rows = rows_of(asked.brokers, asked.prefix, asked.stream, asked.follow)
    for number, row in enumerate(rows, 1):
        json.dump(row, sys.stdout, default=_plain)
        print()
        if number == asked.limit:
            return


def _plain(value: Any) -> Any:
    return value.value if hasattr(value, "value") else str(value)


if __name__ == "__main__":
    main()
