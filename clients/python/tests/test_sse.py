from __future__ import annotations

import random

import pytest

from tourbillon import UnexpectedAnswer, _sse
from tourbillon._sse import EventParser, ServerEvent

TEXT = (
    'event: rows\nid: o1.5-2\ndata: {"a":"é"}\n\n'
    ": a comment\n\n"
    "event: watermark\r\nid: o1.6-2\r\ndata:1\r\ndata: 2\r\n\r\n"
    "data: plain\n\n"
)
EVENTS = [
    ServerEvent("rows", "o1.5-2", '{"a":"é"}'),
    ServerEvent("watermark", "o1.6-2", "1\n2"),
    ServerEvent("message", "", "plain"),
]


@pytest.mark.parametrize("seed", range(20))
def test_any_pieces_give_the_same_events(seed: int) -> None:
    rng = random.Random(seed)
    body, parser, events = TEXT.encode(), EventParser(), []
    while body:
        size = rng.choice([1, 2, 7, 50])
        events += list(parser.feed(body[:size]))
        body = body[size:]
    assert events == EVENTS


def test_an_event_that_was_cut_off_is_none() -> None:
    whole = TEXT.encode()[: len(b'event: rows\nid: o1.5-2\ndata: {"a":"\xc3\xa9"}\n')]
    for end in range(len(whole) + 1):
        assert list(EventParser().feed(whole[:end])) == []
    assert list(EventParser().feed(whole + b"\n")) == EVENTS[:1]


@pytest.mark.parametrize("body", [b"data: " + b"x" * 200, b"data: xxxxxxxx\n" * 20])
def test_an_event_without_end_is_refused(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sse, "EVENT_BYTES", 100)
    with pytest.raises(UnexpectedAnswer):
        list(EventParser().feed(body))
