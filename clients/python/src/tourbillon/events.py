"""What a subscription hands out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ._frames import to_pandas, to_polars
from ._types import SYSTEM_TYPES, arrow_type
from .models import StreamInfo

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl


@dataclass(frozen=True)
class Rows:
    """Rows that came together.

    `rows` are as the service wrote them: decimals are `Decimal`, times RFC 3339 text to the ns.
    `to_arrow` has them in the types of the stream. Not a number is null in both, as in all JSON.
    `cursor` is the place after them. Eager rows are not final, and of one partition.
    """

    rows: tuple[Mapping[str, Any], ...] = field(repr=False)
    is_final: bool
    partition: int | None
    cursor: str
    stream: StreamInfo = field(repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    def to_arrow(self) -> pa.Table:
        names = list(self.rows[0]) if self.rows else []
        types = dict(SYSTEM_TYPES) | {c.name: arrow_type(c.type) for c in self.stream.columns}
        fields = [pa.field(name, types[name]) for name in names]
        columns = [_column([row[f.name] for row in self.rows], f.type) for f in fields]
        return pa.Table.from_arrays(columns, schema=pa.schema(fields))

    def to_pandas(self) -> pd.DataFrame:
        return to_pandas(self.to_arrow())

    def to_polars(self) -> pl.DataFrame:
        return to_polars(self.to_arrow())


@dataclass(frozen=True)
class Watermark:
    """The stream is complete through this stamp (ns)."""

    complete_through: int
    cursor: str


Event = Rows | Watermark


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_timestamp(kind):
        return pa.array(values, pa.string()).cast(kind)
    if pa.types.is_floating(kind):
        values = [None if value is None else float(value) for value in values]
    return pa.array(values, kind)
