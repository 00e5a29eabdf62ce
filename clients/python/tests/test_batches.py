from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from tourbillon import Batch, ConfigError, Limits
from tourbillon._batches import Batcher, line_batches
from tourbillon._rows import line
from tourbillon._sequences import GeneratedSequences


def batcher(**limits: int) -> Batcher:
    return Batcher("ticks", GeneratedSequences(), Limits(**limits), {"on_error": "skip", "hlc": 5})


def lines(batches: Iterable[Batch]) -> list[dict[str, Any]]:
    bodies = b"".join(batch.request.body or b"" for batch in batches)
    return [json.loads(text) for text in bodies.splitlines()]


def test_rows_are_spelled_without_loss() -> None:
    row = {
        "price": Decimal("0.000000001"),
        "big": Decimal("1E+3"),
        "at": datetime(1970, 1, 1, 0, 0, 1, tzinfo=timezone.utc),
        "n": 2**63,
        "live": True,
        "none": None,
        "count": np.int64(7),
    }
    assert json.loads(line(row, 1)) == {
        "price": "0.000000001",
        "big": "1000",
        "at": 1_000_000_000,
        "n": 2**63,
        "live": True,
        "none": None,
        "count": 7,
    }
    assert json.loads(line({"a": float("nan"), "b": float("-inf"), "c": 1.5}, 1)) == {
        "a": "nan",
        "b": "-inf",
        "c": 1.5,
    }
    for wrong in ({"a": object()}, {"a": {1, 2}}, ["a"], {"a": datetime(2026, 1, 1)}):
        with pytest.raises(ConfigError):
            line(wrong, 7)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="row 7"):
        line({"a": object()}, 7)


def test_batches_keep_order_limits_and_numbers() -> None:
    one = batcher(most_rows=3)
    batches = list(one.add({"n": n} for n in range(8)))
    assert [b.rows for b in batches] == [3, 3]
    assert one.waiting_rows == 2
    batches += [*one.add({"n": 8}), *one.add([{"n": 9}])]
    batches += one.rest()
    assert [row["n"] for row in lines(batches)] == list(range(10))
    assert [(b.sequence, b.first_row) for b in batches] == [(0, 0), (1, 3), (2, 6), (3, 9)]
    assert one.rest() == []
    request = batches[2].request
    assert request.path == "/v1/streams/ticks/events"
    assert request.params == (("on_error", "skip"),)
    assert dict(request.headers) == {
        "content-type": "application/x-ndjson",
        "tourbillon-source": batches[2].source,
        "tourbillon-sequence": "2",
        "tourbillon-hlc": "5",
    }


def test_batches_keep_to_their_bytes() -> None:
    batches = list(batcher(most_bytes=100).add({"text": "x" * 30} for _ in range(10)))
    assert len(batches) > 3
    assert all(len(b.request.body or b"") <= 100 for b in batches)
    long = batcher(most_bytes=100)
    alone = [*long.add([{"t": "a"}, {"t": "x" * 500}, {"t": "b"}]), *long.rest()]
    assert [b.rows for b in alone] == [1, 1, 1]


FRAMES = [
    pa.table({"n": range(10)}),
    pa.table({"n": range(10)}).to_batches()[0],
    pd.DataFrame({"n": range(10)}, index=range(5, 15)),
    pl.DataFrame({"n": range(10)}),
]


@pytest.mark.parametrize("frame", FRAMES, ids=lambda f: type(f).__module__)
def test_frames_go_as_arrow_after_the_rows_before_them(frame: Any) -> None:
    one = batcher(most_rows=4)
    assert list(one.add({"n": -1})) == []
    batches = list(one.add(frame))
    assert [b.rows for b in batches] == [1, 4, 4, 2]
    assert [b.first_row for b in batches] == [0, 1, 5, 9]
    tables = [pa.ipc.open_stream(b.request.body).read_all() for b in batches[1:]]
    assert pa.concat_tables(tables).to_pydict() == {"n": list(range(10))}
    assert dict(batches[1].request.headers)["content-type"] == "application/vnd.apache.arrow.stream"


def test_frames_are_cut_by_bytes() -> None:
    whole = pa.table({"n": range(1000), "t": ["x" * (n % 50) for n in range(1000)]})
    batches = list(batcher(most_bytes=2000).add(whole))
    assert all(len(b.request.body or b"") <= 2000 for b in batches)
    tables = [pa.ipc.open_stream(b.request.body).read_all() for b in batches]
    assert pa.concat_tables(tables).equals(whole)
    assert list(batcher().add(whole.slice(0, 0))) == []


@pytest.mark.parametrize("kind", ["view", "dictionary"])
def test_a_slice_does_not_carry_the_text_of_all_rows(kind: str) -> None:
    texts = pa.array([f"{n:050}" for n in range(2000)])
    columns = {"view": texts.cast("string_view"), "dictionary": texts.dictionary_encode()}
    batches = list(batcher(most_bytes=20_000).add(pa.table({"t": columns[kind]})))
    assert len(batches) < 12
    assert sum(len(b.request.body or b"") for b in batches) < 200_000
    tables = [pa.ipc.open_stream(b.request.body).read_all() for b in batches]
    assert pa.concat_tables(tables).column("t").to_pylist() == texts.to_pylist()
    small = pa.table({"t": pa.array(["A", "B"] * 500).dictionary_encode()})
    (batch,) = batcher().add(small)
    assert pa.types.is_dictionary(pa.ipc.open_stream(batch.request.body).schema.field("t").type)


def test_what_is_no_row_is_refused() -> None:
    one = batcher(most_rows=2)
    for wrong in ("trades x=1", b"x", 7, [1], [{"n": object()}]):
        with pytest.raises(ConfigError):
            list(one.add(wrong))
    assert one.taken_rows == 0
    assert [b.sequence for b in one.add([{"n": 1}, {"n": 2}])] == [0]
    assert one.taken_rows == 2


def test_points_of_line_protocol() -> None:
    numbers = GeneratedSequences()
    text = 'a,k=v s="two\nlines" 1\nb x=1 2\n'
    (whole,) = line_batches(text, "us", numbers, Limits(most_rows=1))
    assert whole.request.body == text.encode()
    assert whole.request.params == (("precision", "us"),)
    parts = list(line_batches((f"a x={n}" for n in range(5)), "ns", numbers, Limits(most_rows=2)))
    assert [b.request.body for b in parts] == [b"a x=0\na x=1", b"a x=2\na x=3", b"a x=4"]
    assert [b.sequence for b in parts] == [1, 2, 3]
    assert [b.first_row for b in parts] == [0, 2, 4]
    assert list(line_batches([], "ns", numbers, Limits())) == []
