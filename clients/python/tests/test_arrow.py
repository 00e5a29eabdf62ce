from __future__ import annotations

import random

import pyarrow as pa
import pytest

from tourbillon import UnexpectedAnswer
from tourbillon._arrow import ArrowStream, encode


def table(rows: int) -> pa.Table:
    numbers = pa.array(range(rows), pa.int64())
    names = pa.array([None if n % 7 == 0 else f"S{n}" for n in range(rows)], pa.string())
    return pa.table({"n": numbers, "name": names})


def body_of(whole: pa.Table, step: int) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, whole.schema) as writer:
        for start in range(0, whole.num_rows, step):
            writer.write_table(whole.slice(start, step))
    return bytes(sink.getvalue())


@pytest.mark.parametrize("seed", range(20))
def test_any_pieces_give_the_same_batches(seed: int) -> None:
    rng = random.Random(seed)
    whole = table(rng.randint(0, 500))
    body = body_of(whole, rng.randint(1, 100))
    stream, batches, at = ArrowStream(), [], 0
    while at < len(body):
        size = rng.choice([1, 3, 8, 200, 4000])
        batches += list(stream.feed(body[at : at + size]))
        at += size
    assert stream.is_ended
    assert pa.Table.from_batches(batches, stream.schema).equals(whole)


def test_a_stream_that_is_cut_anywhere_is_not_ended() -> None:
    body = body_of(table(20), 10)
    for end in range(len(body)):
        stream = ArrowStream()
        list(stream.feed(body[:end]))
        assert not stream.is_ended, end


@pytest.mark.parametrize("body", [b"<html><body>", b"\xff\xff\xff\xff\xff\xff\xff\x7f", b"\0" * 64])
def test_other_bytes_are_refused(body: bytes) -> None:
    with pytest.raises(UnexpectedAnswer):
        list(ArrowStream().feed(body))


def test_damaged_heads_are_errors_and_no_crash() -> None:
    body = bytearray(body_of(table(20), 10))
    outcomes = set()
    for at in range(8, 200):
        damaged = bytearray(body)
        damaged[at] ^= 0x55
        try:
            list(ArrowStream().feed(bytes(damaged)))
            outcomes.add("read")
        except UnexpectedAnswer:
            outcomes.add("refused")
    assert "refused" in outcomes


def test_bodies_are_streams() -> None:
    whole = table(5)
    assert pa.ipc.open_stream(encode(whole)).read_all().equals(whole)
