"""Subscriptions to a running service, over connections that break at random places."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any, Literal

import pytest
from conftest import rows
from proxy import Plan, Proxy, cut_after

from tourbillon import AsyncClient, Client, Retry, Rows, Watermark

ROWS = 1500
BATCH = 30
MOST_BYTES = 20_000
LIMIT_S = 60.0
QUICK = Retry(total_s=20, first_s=0.005, most_s=0.02)
Mode = Literal["ordered", "eager"]


@contextmanager
def feeding(client: Client, stream: str, first: int = 0) -> Iterator[None]:
    """Writes rows while the test reads."""

    def feed() -> None:
        with client.writer(stream) as writer:
            for start in range(first, first + ROWS, BATCH):
                writer.write(rows(start, start + BATCH))
                writer.flush()
                time.sleep(0.01)

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def breaking(seed: int) -> Plan:
    """Every connection ends after another number of bytes."""
    rng = random.Random(seed)

    def plan(client: Any, upstream: Any) -> None:
        cut_after(rng.randrange(MOST_BYTES))(client, upstream)

    return plan


def window(client: Client, stream: str) -> list[tuple[int, int]]:
    """All rows in the order of the stream."""
    result = client.window(stream, consistency="latest", columns=["hlc", "n"]).to_arrow()
    stamps = result.column("hlc").cast("int64").to_pylist()
    return list(zip(stamps, result.column("n").to_pylist(), strict=True))


def stamped(event: Rows) -> list[tuple[int, int]]:
    table = event.to_arrow()
    stamps = table.column("hlc").cast("int64").to_pylist()
    return list(zip(stamps, table.column("n").to_pylist(), strict=True))


@pytest.mark.parametrize("mode", ["ordered", "eager"])
@pytest.mark.parametrize("seed", [1, 2])
def test_each_row_once_over_broken_connections(
    proxy: Proxy, client: Client, ticks: str, mode: Mode, seed: int
) -> None:
    proxy.usual = breaking(seed)
    got: list[tuple[int, int]] = []
    deadline = time.monotonic() + LIMIT_S
    with (
        Client(proxy.url, retry=QUICK) as broken,
        broken.subscribe(ticks, start="earliest", mode=mode) as following,
        feeding(client, ticks),
    ):
        for event in following:
            assert time.monotonic() < deadline
            if isinstance(event, Rows):
                assert event.is_final is (mode == "ordered")
                got += stamped(event)
            if len(got) >= ROWS:
                break
    expected = window(client, ticks)
    assert len(expected) == ROWS
    assert (got if mode == "ordered" else sorted(got)) == expected
    assert following.connections > 5


def test_the_async_client_subscribes_as_the_sync_one(
    proxy: Proxy, client: Client, ticks: str
) -> None:
    proxy.usual = breaking(3)

    async def follow() -> tuple[list[tuple[int, int]], int]:
        got: list[tuple[int, int]] = []
        async with (
            AsyncClient(proxy.url, retry=QUICK) as broken,
            await broken.subscribe(ticks, start="earliest") as following,
        ):
            while len(got) < ROWS:
                event = await anext(following)
                got += stamped(event) if isinstance(event, Rows) else []
            return got, following.connections

    with feeding(client, ticks):
        got, connections = asyncio.run(asyncio.wait_for(follow(), LIMIT_S))
    assert got == window(client, ticks)
    assert connections > 5


def test_it_is_open_when_subscribe_returns(client: Client, ticks: str) -> None:
    client.write(ticks, rows(0, 5))
    client.window(ticks, end=datetime.now(timezone.utc), wait="10s").close()
    with client.subscribe(ticks) as following:
        client.write(ticks, rows(5, 10))
        event = next(event for event in following if isinstance(event, Rows))
    assert {row["n"] for row in event.rows} <= set(range(5, 10))


def test_a_cursor_goes_on_in_another_process(client: Client, ticks: str) -> None:
    client.write(ticks, rows(0, 100))
    with client.subscribe(ticks, start="earliest", columns=["n", "hlc"]) as following:
        first = next(event for event in following if isinstance(event, Rows))
    client.write(ticks, rows(100, 110))
    got = len(first)
    with client.subscribe(ticks, start=first.cursor, columns=["n", "hlc"]) as following:
        for event in following:
            if isinstance(event, Rows):
                got += len(event)
                assert list(event.rows[0]) == ["n", "hlc"]
            if got >= 110:
                break
    assert got == 110


def test_watermarks_tell_what_is_complete(client: Client, ticks: str) -> None:
    receipts = client.write(ticks, rows(0, 5))
    with client.subscribe(ticks, start=receipts[0].first_hlc or 0, key={"symbol": "S1"}) as found:
        event = next(event for event in found if isinstance(event, Rows))
        assert [row["n"] for row in event.rows] == [1]
        marks = [next(found) for _ in range(3)]
    through = [mark.complete_through for mark in marks if isinstance(mark, Watermark)]
    assert len(through) == 3
    assert through == sorted(through)
    assert through[-1] >= (receipts[0].last_hlc or 0)


def test_replay_at_a_pace(client: Client, ticks: str) -> None:
    client.write(ticks, rows(0, 1))
    time.sleep(0.6)
    client.write(ticks, rows(1, 2))
    got, begun = 0, 0.0
    with client.subscribe(ticks, start="earliest", speed=1.0) as following:
        for event in following:
            if isinstance(event, Rows):
                got += len(event)
                begun = begun or time.monotonic()
            if got == 2:
                break
    assert 0.4 < time.monotonic() - begun < 5


def test_a_stop_of_the_service_is_survived(
    url: str, proxy: Proxy, client: Client, ticks: str
) -> None:
    """The proxy stands for a service that is away for a while."""
    client.write(ticks, rows(0, 3))
    with (
        Client(proxy.url, retry=QUICK) as broken,
        broken.subscribe(ticks, start="earliest") as following,
    ):
        got = 0
        while got < 3:
            event = next(following)
            got += len(event) if isinstance(event, Rows) else 0
        upstream, proxy.upstream = proxy.upstream, ("127.0.0.1", 9)
        proxy.usual = cut_after(None)
        client.write(ticks, rows(3, 6))
        threading.Timer(0.5, lambda: setattr(proxy, "upstream", upstream)).start()
        while got < 6:
            event = next(following)
            got += len(event) if isinstance(event, Rows) else 0
    assert got == 6
