from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from play import Stage, Step, answer, lost, ok, problem

from tourbillon import Gone, NotFound, Rows, SubscriptionLost, UnexpectedAnswer, Watermark
from tourbillon._effects import Broken, Head
from tourbillon._subscribe import Following

RESET = Broken("reset", True)
INFO: dict[str, Any] = {
    "name": "t",
    "columns": [
        {"name": "n", "type": "int64"},
        {"name": "p", "type": "decimal(18,9)", "nullable": True},
        {"name": "f", "type": "float64", "nullable": True},
    ],
    "key": [],
    "partitions": 1,
    "window": "10s",
    "compaction": "1h",
    "retention": "off",
    "version": 1,
}


def rows(number: int) -> bytes:
    row = f'{{"hlc":"1970-01-01T00:00:00.00000000{number}Z","n":{number},"p":1.500000001,"f":0.5}}'
    data = f'{{"final":true,"rows":[{row}]}}'
    return f"event: rows\nid: c{number}\ndata: {data}\n\n".encode()


def event(name: str, cursor: str, **data: Any) -> bytes:
    return f"event: {name}\nid: {cursor}\ndata: {json.dumps(data)}\n\n".encode()


def stream(*parts: bytes | Broken) -> list[Step]:
    """One connection: the definition is asked for before."""
    opened = ok(list(parts), content_type="text/event-stream", tourbillon_cursor="c0")
    return [answer(INFO), opened]


def follow(stage: Stage, most: int, **options: Any) -> Following:
    following = Following("t", options, stage.clock.settings(total_s=5))
    stage.run(following.begin())
    stage.run(following.events(), most)
    return following


def begins(stage: Stage) -> list[str | None]:
    asked = [dict(r.params) for r in stage.requests if r.path.endswith("/subscribe")]
    return [params.get("from") for params in asked]


def numbers(stage: Stage) -> list[int]:
    return [row["n"] for item in stage.items if isinstance(item, Rows) for row in item.rows]


def test_events_are_typed() -> None:
    stage = Stage(
        stream(
            rows(1),
            event("news", "c2", of="a later version"),
            event("watermark", "c3", complete_through="1970-01-01T00:00:00.000000007Z"),
        )
    )
    following = follow(stage, 2)
    first, second = stage.items
    assert first.rows[0]["p"] == Decimal("1.500000001")
    assert first.to_arrow().to_pylist()[0]["f"] == 0.5
    assert first.to_arrow().column("p").to_pylist() == [Decimal("1.500000001")]
    assert first.to_arrow().column("hlc").cast("int64").to_pylist() == [1]
    assert len(first.to_pandas()) == len(first.to_polars()) == len(first) == 1
    assert second == Watermark(7, "c3")
    assert following.cursor == "c3"


def test_it_goes_on_after_the_last_whole_event() -> None:
    steps = stream(rows(1) + rows(2)[:30], RESET)
    steps += [lost(), answer(INFO), lost()]
    steps += stream(rows(2), b"")
    steps += stream(rows(3), event("end", "c3", reason="the service stops"))
    steps += stream(rows(4))
    stage = Stage(steps)
    follow(stage, 4, start="earliest", mode="ordered")
    assert numbers(stage) == [1, 2, 3, 4]
    assert begins(stage) == ["earliest", "c1", "c1", "c2", "c3"]


def test_a_subscription_without_events_goes_on_where_it_began() -> None:
    stage = Stage(stream(RESET) + stream(rows(1)))
    follow(stage, 1)
    assert begins(stage) == [None, "c0"]


def test_columns_that_were_added_meanwhile_are_asked_for() -> None:
    grown = INFO | {"columns": [*INFO["columns"], {"name": "x", "type": "bool"}]}
    late = event("rows", "c2", final=True, rows=[{"n": 2, "x": True}])
    stage = Stage([*stream(rows(1) + late), answer(grown), stream(late)[1]])
    follow(stage, 2)
    assert numbers(stage) == [1, 2]
    assert stage.items[1].to_arrow().to_pydict() == {"n": [2], "x": [True]}
    assert begins(stage) == [None, "c1"]


def test_after_the_time_its_cursor_is_told() -> None:
    stage = Stage(stream(rows(1), RESET) + [lost() for _ in range(50)])
    with pytest.raises(SubscriptionLost) as caught:
        follow(stage, 9)
    assert caught.value.cursor == "c1"
    assert sum(stage.pauses) <= 5


def test_refusals_are_the_callers() -> None:
    with pytest.raises(NotFound):
        follow(Stage([problem(404)]), 1)
    stage = Stage([*stream(rows(1), RESET), answer(INFO), problem(410)])
    with pytest.raises(Gone):
        follow(stage, 9)


def test_answers_of_another_kind_are_refused() -> None:
    html: Step = (Head(200, {"content-type": "text/html"}), [b"<html>"])
    with pytest.raises(UnexpectedAnswer, match="text/html"):
        follow(Stage([answer(INFO), html]), 1)
    with pytest.raises(UnexpectedAnswer):
        follow(Stage(stream(b"event: rows\nid: c1\ndata: {\n\n")), 1)
