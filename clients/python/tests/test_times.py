from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pandas as pd
import pytest

from tourbillon import ConfigError, UnexpectedAnswer, to_datetime
from tourbillon._times import Duration, Time, duration_s, duration_text, parse_ns, time_text

NS = 1_769_869_800_123_456_789


def test_times_are_spelled_to_the_nanosecond() -> None:
    zone = timezone(timedelta(hours=5, minutes=30))
    cases: list[tuple[Time, str]] = [
        (datetime(2026, 1, 31, 14, 30, 0, 123456, timezone.utc), "1769869800123456000"),
        (datetime(2026, 1, 31, 20, 0, 0, 123456, zone), "1769869800123456000"),
        (pd.Timestamp(NS, tz="UTC"), str(NS)),
        (datetime(1969, 12, 31, 23, 59, 59, 999999, timezone.utc), "-1000"),
        (NS, str(NS)),
        ("2026-01-31T14:30:00Z", "2026-01-31T14:30:00Z"),
    ]
    for value, text in cases:
        assert time_text(value) == text


@pytest.mark.parametrize("value", [datetime(2026, 1, 31), 1.5, True, None])
def test_times_that_are_not_sure_are_refused(value: Time) -> None:
    with pytest.raises(ConfigError):
        time_text(value)


def test_answers_are_read_to_the_nanosecond() -> None:
    assert parse_ns("2026-01-31T14:30:00.123456789Z") == NS
    assert parse_ns("2026-01-31T14:30:00Z") == NS // 10**9 * 10**9
    assert parse_ns("2026-01-31T14:30:00.1Z") == NS // 10**9 * 10**9 + 10**8
    assert to_datetime(NS) == datetime(2026, 1, 31, 14, 30, 0, 123456, timezone.utc)
    for text in ("", "2026-01-31", "2026-01-31T14:30:00+01:00"):
        with pytest.raises(UnexpectedAnswer):
            parse_ns(text)


def test_durations() -> None:
    cases: list[tuple[Duration, str, float]] = [
        (timedelta(seconds=2), "2s", 2.0),
        (timedelta(milliseconds=1500), "1500ms", 1.5),
        (timedelta(microseconds=7), "7us", 7e-6),
        ("1h", "1h", 3600.0),
        ("soon", "soon", 0.0),
    ]
    for value, text, seconds in cases:
        assert duration_text(value) == text
        assert duration_s(value) == pytest.approx(seconds)
    with pytest.raises(ConfigError):
        duration_text(timedelta(seconds=-1))
