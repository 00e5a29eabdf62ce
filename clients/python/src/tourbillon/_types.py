"""Column types of the service as Arrow types."""

from __future__ import annotations

import re

import pyarrow as pa

from .errors import UnexpectedAnswer

TIMESTAMP = pa.timestamp("ns", "UTC")
#: Columns that every row has besides those of its stream.
SYSTEM_TYPES = {"hlc": TIMESTAMP, "writer": pa.uint32(), "log_offset": pa.uint64()}

_PLAIN = {
    "string": pa.string(),
    "timestamp": TIMESTAMP,
    "int64": pa.int64(),
    "uint64": pa.uint64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
}
_DECIMAL = re.compile(r"decimal\((\d+),(\d+)\)")


def arrow_type(name: str) -> pa.DataType:
    """The Arrow type of a column of type `name`."""
    match = _DECIMAL.fullmatch(name)
    if match is not None:
        return pa.decimal128(int(match[1]), int(match[2]))
    if name not in _PLAIN:
        raise UnexpectedAnswer(f"unknown column type `{name}`: a newer client may know it")
    return _PLAIN[name]
