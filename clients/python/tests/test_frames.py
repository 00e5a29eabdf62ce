"""The example that decodes frames, on some that a gateway wrote to a real broker."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "examples"))

from kafka_consumer import FrameError, Source, decode_frame, decode_rows  # noqa: E402

CAPTURE = json.loads((HERE / "data" / "frames.json").read_text())
DEFINITION: dict[str, Any] = CAPTURE["definition"]
OPENED, SPREAD, DENSE, BEAT, CLOSED = map(base64.b64decode, CAPTURE["frames"])


def test_headers() -> None:
    kinds = [decode_frame(frame).kind for frame in (OPENED, SPREAD, DENSE, BEAT, CLOSED)]
    assert kinds == ["open", "data", "data", "beat", "close"]
    frame = decode_frame(DENSE)
    assert (frame.rows, frame.is_contiguous, frame.schema_version, frame.cut) == (20, True, 2, 3)
    assert frame.last_hlc == frame.first_hlc + 19
    (source,) = frame.sources
    assert source == Source(source.name, 3, 0, 20, True)
    assert source.name.startswith("py-")
    assert decode_frame(OPENED).body == b""


def test_rows_with_and_without_gaps_between_their_stamps() -> None:
    dense = decode_rows(decode_frame(DENSE), DEFINITION).to_pylist()
    assert [row["n"] for row in dense] == list(range(400, 420))
    assert {row["symbol"] for row in dense} == {"S1"}
    frame = decode_frame(SPREAD)
    spread = decode_rows(frame, DEFINITION)
    stamps = spread.column("hlc").cast("int64").to_pylist()
    assert stamps == sorted(stamps)
    assert (stamps[0], stamps[-1]) == (frame.first_hlc, frame.last_hlc)
    assert stamps[-1] - stamps[0] > len(stamps)
    assert all(300 <= row["n"] < 400 and row["extra"] == 0.5 for row in spread.to_pylist())
    assert set(spread.column("writer").to_pylist()) == {frame.writer}


def _flipped(frame: bytes) -> bytes:
    return frame[:-1] + bytes([frame[-1] ^ 1])


def _of_another_version(frame: bytes) -> bytes:
    return frame[:3] + b"\x09" + frame[4:]


@pytest.mark.parametrize(
    "damage", [_flipped, _of_another_version, lambda f: f[:-1], lambda f: f[1:], lambda f: f[:10]]
)
def test_damage_is_noticed(damage: Callable[[bytes], bytes]) -> None:
    with pytest.raises(FrameError):
        decode_frame(damage(DENSE))
