from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from play import Stage, Step, answer, lost, problem

from tourbillon import (
    ConfigError,
    ConnectionFailed,
    Indeterminate,
    InvalidRequest,
    Limits,
    RowError,
    RowsRefused,
    TooBusy,
    TourbillonError,
)
from tourbillon._batches import Batcher, line_batches
from tourbillon._retry import REPEATABLE_S
from tourbillon._sequences import GeneratedSequences
from tourbillon._writing import WriterCore, send_points

STORED: dict[str, Any] = {"accepted": 2, "first_hlc": 1, "last_hlc": 2, "positions": {"0": 7}}


def started(*steps: Step, **retry: float) -> tuple[Stage, WriterCore]:
    stage = Stage(list(steps))
    numbers = Batcher("ticks", GeneratedSequences(), Limits(most_rows=2), {})
    return stage, WriterCore(numbers, stage.clock.settings(**retry))


def rows(*numbers: int) -> list[dict[str, int]]:
    return [{"n": n} for n in numbers]


def sequences(stage: Stage) -> list[str]:
    return [dict(request.headers)["tourbillon-sequence"] for request in stage.requests]


def test_a_repeat_has_the_same_number_and_bytes() -> None:
    stage, core = started(lost(), problem(503), problem(500), problem(429, "2"), answer(STORED))
    (receipt,) = stage.run(core.write(rows(1, 2))) or []
    assert (receipt.accepted, receipt.positions, receipt.sequence) == (2, {0: 7}, 0)
    assert sequences(stage) == ["0"] * 5
    assert len({request.body for request in stage.requests}) == 1
    assert stage.pauses[3] == 2
    assert core.pending == ()


def test_the_next_batch_has_the_next_number() -> None:
    stage, core = started(answer(STORED), answer(STORED))
    stage.run(core.write(rows(1, 2, 3)))
    assert core.waiting_rows == 1
    stage.run(core.flush())
    assert sequences(stage) == ["0", "1"]
    assert core.waiting_rows == 0


def test_rows_that_may_be_stored_wait_for_a_repeat_under_their_number() -> None:
    stage, core = started(answer(STORED), lost(), answer(STORED), answer(STORED), total_s=0)
    with pytest.raises(Indeterminate) as caught:
        stage.run(core.write(rows(1, 2, 3, 4, 5, 6)))
    error = caught.value
    assert (error.sequence, error.taken) == (1, 4)
    assert [r.sequence for r in error.receipts] == [0]
    assert [b.sequence for b in error.pending] == [1]
    assert isinstance(error.__cause__, ConnectionFailed)
    stage.run(core.write(rows(5, 6)))
    assert sequences(stage) == ["0", "1", "1", "2"]
    assert stage.requests[3].body == b'{"n":5}\n{"n":6}\n'


def test_rows_that_never_left_are_not_in_doubt() -> None:
    stage, core = started(lost(is_ambiguous=False), total_s=0)
    with pytest.raises(ConnectionFailed):
        stage.run(core.write(rows(1, 2)))
    stage, core = started(problem(429, "9"), total_s=1)
    with pytest.raises(TooBusy):
        stage.run(core.write(rows(1, 2)))
    assert len(core.pending) == 1


def test_doubt_stays_when_later_attempts_do_not_get_through() -> None:
    stage, core = started(lost(), lost(is_ambiguous=False), total_s=0.15)
    with pytest.raises(Indeterminate):
        stage.run(core.write(rows(1, 2)))


def test_while_old_rows_fail_no_new_ones_are_taken() -> None:
    stage, core = started(lost(), lost(), answer(STORED), answer(STORED), total_s=0)
    with pytest.raises(Indeterminate):
        stage.run(core.write(rows(1, 2)))
    with pytest.raises(Indeterminate) as caught:
        stage.run(core.write(rows(3, 4)))
    assert caught.value.taken == 0
    stage.run(core.write(rows(3, 4)))
    assert [r.body for r in stage.requests[2:]] == [b'{"n":1}\n{"n":2}\n', b'{"n":3}\n{"n":4}\n']


def test_a_refused_batch_is_given_back_and_not_sent_again() -> None:
    bad = problem(400, rows=[{"row": 2, "column": "n", "reason": "no"}], refused=1)
    stage, core = started(answer(STORED), bad, answer(STORED))
    with pytest.raises(RowsRefused) as caught:
        stage.run(core.write(rows(1, 2, 3, 4, 5, 6)))
    error = caught.value
    assert list(error.rows) == [RowError(4, "no", "n")]
    assert error.batch is not None
    assert error.batch.sequence == 1
    assert error.taken == 4
    assert core.pending == ()
    stage.run(core.write(rows(5, 6)))
    assert sequences(stage) == ["0", "1", "2"]


def test_other_errors_of_the_request_end_it_at_once() -> None:
    stage, core = started(problem(400, detail="column `x` is not a column of the stream"))
    with pytest.raises(InvalidRequest):
        stage.run(core.write(rows(1, 2)))
    assert core.pending == ()
    stage, core = started(problem(404))
    with pytest.raises(TourbillonError):
        stage.run(core.write(rows(1, 2)))
    assert len(core.pending) == 1
    assert [b.sequence for b in core.discard()] == [0]
    assert not core.pending


def test_skipped_rows_are_told() -> None:
    told = STORED | {"accepted": 1, "refused": 1, "rows": [{"row": 1, "reason": "no"}]}
    stage, core = started(answer(STORED), answer(told))
    _, receipt = stage.run(core.write(rows(1, 2, 3, 4))) or []
    assert (receipt.refused, receipt.rows) == (1, (RowError(3, "no"),))


def test_rows_are_taken_only_as_they_are_sent() -> None:
    """So that memory is bounded, whatever a generator holds."""
    drawn = 0

    def endless() -> Iterator[dict[str, int]]:
        nonlocal drawn
        while True:
            drawn += 1
            yield {"n": drawn}

    stage, core = started(answer(STORED), answer(STORED), lost(), total_s=0)
    with pytest.raises(Indeterminate) as caught:
        stage.run(core.write(endless()))
    assert caught.value.taken == drawn == 6


def test_rows_that_cannot_be_spelled_end_a_write_where_they_are() -> None:
    stage, core = started(answer(STORED), answer(STORED))
    with pytest.raises(ConfigError, match="row 4") as caught:
        stage.run(core.write([*rows(1, 2, 3), {"n": object()}, *rows(5)]))
    assert caught.value.taken == 3
    assert core.waiting_rows == 1
    stage, core = started(answer(STORED), answer(STORED))
    with pytest.raises(ConfigError) as caught:
        stage.run(core.write_all([*rows(1, 2, 3), {"n": object()}]))
    assert caught.value.taken == 3
    assert [b.rows for b in caught.value.pending] == [1]


def test_points_are_taken_only_as_they_are_sent() -> None:
    stage, _ = started(answer(STORED), lost(), total_s=0)
    points = line_batches(
        (f"a n={n}" for n in range(100)), "ns", GeneratedSequences(), Limits(most_rows=10)
    )
    with pytest.raises(Indeterminate) as caught:
        stage.run(send_points(points, stage.clock.settings(total_s=0)))
    assert caught.value.taken == 20
    assert [r.sequence for r in caught.value.receipts] == [0]
    assert [b.sequence for b in caught.value.pending] == [1]
    assert next(points).first_row == 20


def test_a_batch_is_not_repeated_when_the_service_may_have_forgotten_it() -> None:
    stage, core = started(lost(), answer(STORED), total_s=0)
    with pytest.raises(Indeterminate):
        stage.run(core.write(rows(1, 2)))
    stage.clock.now += REPEATABLE_S + 1
    with pytest.raises(Indeterminate, match="forgotten"):
        stage.run(core.flush())
    assert len(stage.requests) == 1
    assert len(core.discard()) == 1
