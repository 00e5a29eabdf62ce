from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from play import Stage, Step, lost, ok, problem

from tourbillon import AnswerBroken, Gone
from tourbillon._effects import Broken
from tourbillon._plans import sql, window
from tourbillon._windows import Reading, next_cursor

RESET = Broken("reset", True)


def body(rows: int = 100, step: int = 10) -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.table({"n": range(rows)})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        for start in range(0, rows, step):
            writer.write_table(table.slice(start, step))
    return bytes(sink.getvalue())


def told(parts: list[bytes | Broken]) -> Step:
    return ok(
        parts,
        tourbillon_snapshot="1.9.t5",
        tourbillon_complete_through="1970-01-01T00:00:00.000000005Z",
        tourbillon_final="true",
    )


def read_all(stage: Stage, reading: Reading) -> list[int]:
    stage.run(reading.begin())
    stage.run(reading.batches())
    return [n for batch in stage.items for n in batch.column(0).to_pylist()]


def cut_at(part: float) -> list[bytes | Broken]:
    whole = body()
    return [whole[: int(len(whole) * part)], RESET]


def test_headers_are_told() -> None:
    stage = Stage([told([body()])])
    begun = stage.run(window(stage.clock.settings(), "t", {}).begin())
    assert begun is not None
    head, schema = begun
    assert (head.snapshot, head.complete_through, head.is_final) == ("1.9.t5", 5, True)
    assert schema.names == ["n"]


@pytest.mark.parametrize("ending", [RESET, b""], ids=["reset", "short"])
def test_a_broken_answer_goes_on_under_its_snapshot_without_repeats(ending: Any) -> None:
    whole = body()
    steps = [told([whole[: len(whole) * n // 10], ending]) for n in (1, 4, 3, 9)]
    stage = Stage([problem(503), *steps, told([whole])])
    reading = window(stage.clock.settings(), "t", {"at_least": "0:1", "consistency": "latest"})
    assert read_all(stage, reading) == list(range(100))
    first, repeats = dict(stage.requests[0].params), stage.requests[2:]
    assert first == {"at_least": "0:1", "consistency": "latest"}
    for request in repeats:
        assert dict(request.params) == {"consistency": "latest", "snapshot": "1.9.t5"}
    assert len(repeats) == 4


def test_a_page_goes_on_under_its_cursor() -> None:
    stage = Stage([told(cut_at(0.5)), told([body()])])
    reading = window(stage.clock.settings(), "t", {"cursor": "c", "limit": 100})
    assert read_all(stage, reading) == list(range(100))
    assert dict(stage.requests[1].params) == {"cursor": "c", "limit": "100"}


def test_without_progress_it_ends_with_the_time() -> None:
    stage = Stage([told(cut_at(0.5)) for _ in range(50)])
    with pytest.raises(AnswerBroken):
        read_all(stage, window(stage.clock.settings(total_s=10, most_s=1), "t", {}))
    rows = sum(batch.num_rows for batch in stage.items)
    assert 0 < rows < 100
    assert 10 < len(stage.requests) < 20


def test_an_error_of_the_repeat_is_the_callers() -> None:
    stage = Stage([told(cut_at(0.5)), lost(), problem(410)])
    with pytest.raises(Gone):
        read_all(stage, window(stage.clock.settings(), "t", {}))


def test_statements_go_on_only_before_their_first_row() -> None:
    stage = Stage([told(cut_at(0.05)), told([body()])])
    assert read_all(stage, sql(stage.clock.settings(), "select n", {})) == list(range(100))
    assert b'"snapshot": "1.9.t5"' in (stage.requests[1].body or b"")
    stage = Stage([told(cut_at(0.9))])
    with pytest.raises(AnswerBroken, match="order by"):
        read_all(stage, sql(stage.clock.settings(), "select n", {}))


def test_links() -> None:
    assert next_cursor(None) is None
    assert next_cursor('</v1/x?limit=1&cursor=1.2-3.k5%2B6>; rel="next"') == "1.2-3.k5+6"
    assert next_cursor('</v1/x>; rel="prev", </v1/x?cursor=c>; rel="next"') == "c"
