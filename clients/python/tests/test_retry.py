from __future__ import annotations

import pytest
from play import Clock, Stage, answer, lost, problem

from tourbillon import (
    ConfigError,
    ConnectionFailed,
    Indeterminate,
    NotComplete,
    Retry,
    ServiceError,
    TooBusy,
    Unavailable,
)
from tourbillon._calls import call
from tourbillon._requests import Request
from tourbillon._retry import retry_after_s

GET = Request("GET", "/x")


def test_pauses_double_and_end_with_the_time() -> None:
    stage = Stage([lost()] * 20)
    with pytest.raises(ConnectionFailed):
        stage.run(call(GET, stage.clock.settings(total_s=10, first_s=1, most_s=4)))
    assert stage.pauses == [1, 2, 4]
    assert len(stage.requests) == 4


def test_a_longer_retry_after_is_kept_and_one_beyond_the_time_is_not_waited_for() -> None:
    stage = Stage([problem(503, "3"), problem(429, "100")])
    with pytest.raises(TooBusy) as caught:
        stage.run(call(GET, stage.clock.settings(total_s=10)))
    assert stage.pauses == [3]
    assert caught.value.retry_after == 100


def test_success_after_failures() -> None:
    stage = Stage([lost(), problem(502), problem(504), answer({"a": 1})])
    assert stage.run(call(GET, stage.clock.settings())) is not None
    assert len(stage.requests) == 4


@pytest.mark.parametrize("status", [400, 401, 404, 410, 413, 415, 500])
def test_reads_do_not_repeat_what_stays(status: int) -> None:
    stage = Stage([problem(status)])
    with pytest.raises(ServiceError) as caught:
        stage.run(call(GET, stage.clock.settings()))
    assert caught.value.status == status
    assert stage.pauses == []


def test_what_is_not_complete_was_waited_for_already() -> None:
    held = [{"partition": 1, "watermark": "2026-01-31T14:30:00Z", "writers": [3]}]
    stage = Stage([problem(503, "1", held_back_by=held)])
    with pytest.raises(NotComplete) as caught:
        stage.run(call(GET, stage.clock.settings()))
    (by,) = caught.value.held_back_by
    assert (by.partition, by.writers) == (1, (3,))
    assert isinstance(caught.value, Unavailable)
    assert not isinstance(caught.value, Indeterminate)


def test_retry_after_is_a_number_or_a_date() -> None:
    assert retry_after_s(None) is None
    assert retry_after_s("7") == 7
    assert retry_after_s("soon") is None
    at = "Sat, 31 Jan 2026 14:30:10 GMT"
    assert retry_after_s(at, now=lambda: 1769869800.0) == 10
    assert retry_after_s(at, now=lambda: 1769869900.0) == 0


@pytest.mark.parametrize(
    "wrong", [{"total_s": -1.0}, {"total_s": 3600.0}, {"first_s": 0.0}, {"first_s": 9.0}]
)
def test_settings_that_cannot_hold_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Retry(**wrong)
    assert Clock().settings().retry.total_s == 60
