"""Times as integer nanoseconds since the epoch, which datetimes cannot hold."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from .errors import ConfigError, UnexpectedAnswer

#: A time: a datetime with a zone, ns since the epoch, or RFC 3339.
Time = datetime | int | str
#: A duration: a timedelta, or text like `250ms` or `10s`.
Duration = timedelta | str

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_SECOND_NS = 1_000_000_000
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z")


def datetime_ns(moment: datetime) -> int:
    """Exact ns, also of a pandas Timestamp."""
    if moment.tzinfo is None:
        raise ConfigError(f"{moment} has no time zone: use an aware datetime, or integer ns")
    since = moment - _EPOCH
    micros = since.days * 86_400_000_000 + since.seconds * 1_000_000 + since.microseconds
    return micros * 1000 + int(getattr(moment, "nanosecond", 0))


def time_text(value: Time) -> str:
    """A time as a request spells it."""
    if isinstance(value, bool) or not isinstance(value, datetime | int | str):
        raise ConfigError(f"{value!r} is no time: use a datetime, integer ns or RFC 3339 text")
    return str(datetime_ns(value)) if isinstance(value, datetime) else str(value)


def duration_text(value: Duration) -> str:
    """A duration as a request spells it."""
    if isinstance(value, str):
        return value
    if not isinstance(value, timedelta):
        raise ConfigError(f"{value!r} is no duration: use a timedelta, or text like `250ms`")
    micros = value // timedelta(microseconds=1)
    if micros < 0:
        raise ConfigError(f"a duration of {value} is negative")
    for unit, length in (("s", 1_000_000), ("ms", 1000)):
        if micros % length == 0:
            return f"{micros // length}{unit}"
    return f"{micros}us"


def duration_s(value: Duration) -> float:
    """Seconds, as far as they can be told; the service refuses other text."""
    match = re.fullmatch(r"(\d+)(ns|us|ms|s|m|h|d)", duration_text(value))
    if match is None:
        return 0.0
    units = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
    return int(match[1]) * units[match[2]]


def parse_ns(text: str) -> int:
    """ns of RFC 3339 in UTC with up to nine decimals, as the service writes it."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise UnexpectedAnswer(f"`{text[:40]}` is not a time in UTC")
    whole = datetime.fromisoformat(match[1]).replace(tzinfo=timezone.utc)
    return datetime_ns(whole) + int((match[2] or "").ljust(9, "0"))


def to_datetime(ns: int) -> datetime:
    """The moment in UTC, cut to microseconds."""
    return _EPOCH + timedelta(microseconds=ns // 1000)
