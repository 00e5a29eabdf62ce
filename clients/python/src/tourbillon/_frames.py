"""Frames of pandas and polars, which need not be installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from .errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl


def to_pandas(table: pa.Table) -> pd.DataFrame:
    try:
        import pandas  # noqa: F401
    except ImportError:
        raise ConfigError("pandas is not installed: pip install 'tourbillon[pandas]'") from None
    frame: pd.DataFrame = table.to_pandas()
    return frame


def to_polars(table: pa.Table) -> pl.DataFrame:
    try:
        import polars
    except ImportError:
        raise ConfigError("polars is not installed: pip install 'tourbillon[polars]'") from None
    frame = polars.from_arrow(table)
    assert isinstance(frame, polars.DataFrame)  # noqa: S101
    return frame


def as_table(data: Any) -> pa.Table | None:
    """Columnar data as a table; None if it is something else."""
    if isinstance(data, pa.Table):
        return data
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data])
    library = type(data).__module__.split(".")[0]
    if library == "pandas" and hasattr(data, "columns"):
        # the index of a frame is no column of a stream
        return pa.Table.from_pandas(data, preserve_index=False).replace_schema_metadata()
    if library == "polars" and hasattr(data, "to_arrow") and hasattr(data, "columns"):
        return data.to_arrow()
    if hasattr(data, "__arrow_c_stream__"):
        return pa.table(data)
    return None


def sliceable(table: pa.Table, heavy_bytes: int) -> pa.Table:
    """The same rows, so that a slice of them is small when it is sent: a slice of text views, or
    of a column with a heavy dictionary, would carry the text of all rows."""
    for place, field in enumerate(table.schema):
        column = table.column(place)
        if str(field.type) == "string_view":
            column = column.cast(pa.large_string())
        elif pa.types.is_dictionary(field.type) and _dictionary_bytes(column) > heavy_bytes:
            column = column.cast(field.type.value_type)
        if column.type != field.type:
            table = table.set_column(place, pa.field(field.name, column.type), column)
    return table


def _dictionary_bytes(column: pa.ChunkedArray) -> int:
    return sum(chunk.dictionary.nbytes for chunk in column.chunks)
