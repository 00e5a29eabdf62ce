"""Rows as lines of JSON. No I/O."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from ._times import datetime_ns
from .errors import ConfigError


def line(row: Mapping[str, Any], number: int) -> bytes:
    """One row with its line end; `number` counts from 1, for messages."""
    if not isinstance(row, Mapping):
        raise ConfigError(f"row {number} is a {type(row).__name__}: rows are mappings by column")
    try:
        return _dumps(row)
    except ValueError:
        # JSON has no NaN and no infinity; the service reads them from text
        return _dumps({name: _spelled(value) for name, value in row.items()})
    except TypeError as error:
        raise ConfigError(f"row {number}: {error}") from None


def _dumps(row: Mapping[str, Any]) -> bytes:
    members = row if isinstance(row, dict) else dict(row)
    text = json.dumps(members, default=_plain, allow_nan=False, separators=(",", ":"))
    return text.encode() + b"\n"


def _spelled(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _plain(value: Any) -> Any:
    """What JSON cannot spell: exact decimals, times as ns, scalars of numpy."""
    if isinstance(value, Decimal):
        return format(value, "f") if value.is_finite() else None
    if isinstance(value, datetime):
        return datetime_ns(value)
    if type(value).__module__ == "numpy" and hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{value!r} cannot be sent: use numbers, text, bool, Decimal or datetime")
