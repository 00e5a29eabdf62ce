"""What the service tells of streams, writes and itself. Times are integer ns since the epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ._times import parse_ns
from .errors import RowError, UnexpectedAnswer

Json = Mapping[str, Any]


def _time(value: str | None) -> int | None:
    return None if value is None else parse_ns(value)


def member(body: Json, name: str) -> Any:
    """A member that must be there."""
    try:
        return body[name]
    except (KeyError, TypeError):
        raise UnexpectedAnswer(f"the answer has no `{name}`") from None


@dataclass(frozen=True)
class Column:
    """A column of a stream; `type` is `string`, `timestamp`, `decimal(18,9)`, `int64`, .."""

    name: str
    type: str
    nullable: bool = False

    @classmethod
    def parse(cls, body: Json) -> Column:
        return cls(member(body, "name"), member(body, "type"), body.get("nullable", False))

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "type": self.type, "nullable": self.nullable}


@dataclass(frozen=True)
class StreamInfo:
    """A stream: its columns, and how it is stored."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    event_time: str | None
    partitions: int
    window: str
    compaction: str
    retention: str
    version: int

    @classmethod
    def parse(cls, body: Json) -> StreamInfo:
        plain = ("partitions", "window", "compaction", "retention", "version")
        return cls(
            name=member(body, "name"),
            columns=tuple(Column.parse(column) for column in member(body, "columns")),
            key=tuple(member(body, "key")),
            event_time=body.get("event_time"),
            **{name: member(body, name) for name in plain},
        )


@dataclass(frozen=True)
class Receipt:
    """What became of a batch. `positions` serve as `at_least` of a window.

    Of line protocol the service tells no more than that it is stored: `accepted` is None.
    A repeated batch is answered with stamps that its rows do not have.
    """

    source: str
    sequence: int
    accepted: int | None = None
    first_hlc: int | None = None
    last_hlc: int | None = None
    positions: Mapping[int, int] = field(default_factory=dict)
    refused: int = 0
    rows: tuple[RowError, ...] = ()

    @classmethod
    def parse(cls, body: Json, source: str, sequence: int, first_row: int) -> Receipt:
        positions = {int(p): int(offset) for p, offset in member(body, "positions").items()}
        return cls(
            source=source,
            sequence=sequence,
            accepted=member(body, "accepted"),
            first_hlc=body.get("first_hlc"),
            last_hlc=body.get("last_hlc"),
            positions=positions,
            refused=body.get("refused") or 0,
            rows=row_errors(body, first_row),
        )


def row_errors(body: Json, first_row: int = 0) -> tuple[RowError, ...]:
    """Rows at fault; `first_row` rows were given before those of the body."""
    return tuple(
        RowError(member(row, "row") + first_row, member(row, "reason"), row.get("column"))
        for row in body.get("rows") or ()
    )


@dataclass(frozen=True)
class HeldBackBy:
    """A partition that is not complete yet, and the writers that have not spoken since."""

    partition: int
    watermark: int
    writers: tuple[int, ...]

    @classmethod
    def parse(cls, body: Json) -> HeldBackBy:
        watermark = parse_ns(member(body, "watermark"))
        return cls(member(body, "partition"), watermark, tuple(member(body, "writers")))


@dataclass(frozen=True)
class Partition:
    """A partition as the node that answered sees it."""

    partition: int
    commit: int | None
    segments: int
    next_offset: int
    log_end: int
    lag: int
    watermark: int
    unsealed_rows: int
    sealed_rows: int
    accepted_rows: int
    duplicate_rows: int
    rejected_rows: int
    writers: tuple[int, ...]
    caught_up: bool
    stopped: str | None

    @classmethod
    def parse(cls, body: Json) -> Partition:
        special = {"commit", "watermark", "writers", "stopped"}
        names = [name for name in cls.__dataclass_fields__ if name not in special]
        return cls(
            commit=body.get("commit"),
            watermark=parse_ns(member(body, "watermark")),
            writers=tuple(member(body, "writers")),
            stopped=body.get("stopped"),
            **{name: member(body, name) for name in names},
        )


@dataclass(frozen=True)
class PartitionList:
    """The partitions of a stream, and how far all of them are complete."""

    stream: str
    complete_through: int | None
    partitions: tuple[Partition, ...]

    @classmethod
    def parse(cls, body: Json) -> PartitionList:
        return cls(
            member(body, "stream"),
            _time(body.get("complete_through")),
            tuple(Partition.parse(one) for one in member(body, "partitions")),
        )


@dataclass(frozen=True)
class WriterInfo:
    """A writer of the service: one life of a gateway."""

    writer: int
    gateway: str
    state: str
    last_seen: int
    last_hlc: int | None
    drift_ms: int | None

    @classmethod
    def parse(cls, body: Json) -> WriterInfo:
        return cls(
            writer=member(body, "writer"),
            gateway=member(body, "gateway"),
            state=member(body, "state"),
            last_seen=parse_ns(member(body, "last_seen")),
            last_hlc=_time(body.get("last_hlc")),
            drift_ms=body.get("drift_ms"),
        )


@dataclass(frozen=True)
class File:
    """A Parquet file; `path` is below the store's address."""

    partition: int
    path: str
    rows: int
    bytes: int
    first_hlc: int
    last_hlc: int
    file_hash: str
    rows_root: str

    @classmethod
    def parse(cls, body: Json) -> File:
        return cls(**{name: member(body, name) for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class FileList:
    """The files of a stream: each sealed row is in one of them."""

    store: str
    files: tuple[File, ...]

    @classmethod
    def parse(cls, body: Json) -> FileList:
        files = tuple(File.parse(one) for one in member(body, "files"))
        return cls(member(body, "store"), files)
