"""Reads from a running service."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from conftest import make_ticks, rows
from proxy import Proxy, answer, cut_after, proxied

from tourbillon import (
    AsyncClient,
    Client,
    Gone,
    InvalidRequest,
    NotComplete,
    NotFound,
    Retry,
    ServiceError,
    TourbillonError,
)

QUICK = Retry(total_s=20, first_s=0.01, most_s=0.05)


def final(client: Client, stream: str, **options: Any) -> pa.Table:
    """The window once it is complete through what was written."""
    end = datetime.now(timezone.utc)
    return client.window(stream, end=end, wait="10s", **options).to_arrow()


def test_a_final_window_is_complete_and_in_order(client: Client, ticks: str) -> None:
    receipts = client.write(ticks, rows(0, 1000))
    result = client.window(ticks, end=datetime.now(timezone.utc), wait=timedelta(seconds=10))
    assert result.is_final
    assert result.complete_through is not None
    assert result.complete_through >= (receipts[-1].last_hlc or 0)
    table = result.to_arrow()
    keys = [(row["hlc"], row["writer"]) for row in table.select(["hlc", "writer"]).to_pylist()]
    assert keys == sorted(keys)
    assert sorted(table.column("n").to_pylist()) == list(range(1000))
    again = client.window(ticks, snapshot=result.snapshot or "").to_arrow()
    assert again.equals(table)
    with pytest.raises(TourbillonError, match="read already"):
        result.to_arrow()


def test_parameters_choose_rows(client: Client, ticks: str) -> None:
    at = datetime(2026, 1, 31, 14, 30, tzinfo=timezone.utc)
    given = [{**row, "at": at + timedelta(seconds=row["n"])} for row in rows(0, 70)]
    client.write(ticks, given)

    def numbers(**options: Any) -> list[int]:
        found: list[int] = final(client, ticks, **options).column("n").to_pylist()
        return found

    assert sorted(numbers(key={"symbol": ["S1", "S2"]})) == [
        n for n in range(70) if n % 7 in (1, 2)
    ]
    assert numbers(order="desc") == numbers()[::-1]
    assert numbers(limit=3) == numbers()[:3]
    assert sum(len(numbers(partition=p)) for p in range(3)) == 70
    assert final(client, ticks, columns=["n", "hlc"]).column_names == ["n", "hlc"]
    events = client.window(
        ticks,
        time="event",
        start=at + timedelta(seconds=10),
        end=at + timedelta(seconds=13),
        consistency="latest",
    )
    assert events.to_arrow().column("n").to_pylist() == [10, 11, 12]


def test_pages_hold_all_rows_once(client: Client, ticks: str) -> None:
    client.write(ticks, rows(0, 100))
    end = datetime.now(timezone.utc)
    pages = client.pages(ticks, limit=30, end=end, wait="10s", columns="n")
    parts = [page.to_arrow().column("n").to_pylist() for page in pages]
    assert [len(part) for part in parts] == [30, 30, 30, 10]
    assert sum(parts, []) == final(client, ticks).column("n").to_pylist()  # noqa: RUF017


def test_rows_stream_in_batches(client: Client, ticks: str) -> None:
    client.write(ticks, pa.table({"symbol": ["A"] * 50_000, "n": range(50_000)}))
    with client.window(ticks, end=datetime.now(timezone.utc), wait="10s") as result:
        sizes = [batch.num_rows for batch in result]
    assert sum(sizes) == 50_000
    assert max(sizes) <= 10_000
    reader = client.window(ticks, consistency="latest").to_reader()
    assert sum(batch.num_rows for batch in reader) == 50_000
    with client.window(ticks, consistency="latest") as left_early:
        next(iter(left_early))
    assert client.stream(ticks).name == ticks


def test_compressed_answers_hold_the_same(url: str, client: Client, ticks: str) -> None:
    client.write(ticks, rows(0, 5000))
    with Client(url, compress=True) as other:
        assert final(other, ticks).equals(final(client, ticks))


def test_broken_answers_go_on(proxy: Proxy, client: Client, ticks: str) -> None:
    client.write(ticks, pa.table({"symbol": ["A"] * 40_000, "n": range(40_000)}))
    expected = final(client, ticks)
    rng = random.Random(5)
    size = expected.nbytes
    proxy.plans.extend(cut_after(rng.randrange(size)) for _ in range(12))
    with Client(proxy.url, retry=QUICK) as broken:
        got = final(broken, ticks)
        assert got.equals(expected)
        got = final(broken, ticks, order="desc", limit=35_000)
    assert got.num_rows == 35_000
    assert proxy.connections > 8


def test_503_then_success(proxy: Proxy, client: Client, ticks: str) -> None:
    client.write(ticks, rows(0, 5))
    proxy.plans.append(answer("HTTP/1.1 503 Busy\nretry-after: 1\ncontent-length: 0\n\n"))
    begun = time.monotonic()
    with Client(proxy.url) as other:
        assert final(other, ticks).num_rows == 5
    assert time.monotonic() - begun >= 1


def test_bars_joins_and_statements(client: Client, ticks: str) -> None:
    prices = [{**row, "price": Decimal(row["n"] + 1)} for row in rows(0, 7)]
    receipts = client.write(ticks, prices * 2)
    bars = client.bars(
        ticks, interval="1d", size="n", consistency="latest", at_least=receipts
    ).to_arrow()
    assert bars.column("count").to_pylist() == [2] * bars.num_rows
    assert set(bars.column("symbol").to_pylist()) == {f"S{n}" for n in range(7)}
    join = client.asof(ticks, ticks, consistency="latest", columns="n", right_columns="n")
    pairs = join.to_arrow()
    assert pairs.column(0).to_pylist() == pairs.column(1).to_pylist()
    assert pairs.num_rows == 14
    answer_ = client.sql(f'select n, count(*) as c from "{ticks}" group by n order by n')
    assert answer_.to_pandas()["c"].tolist() == [2] * 7
    again = client.sql(f'select count(*) from "{ticks}"', snapshot=answer_.snapshot or "")
    assert again.to_polars().item() == 14


def test_what_there_is(client: Client, ticks: str) -> None:
    # a new stream makes the service not ready for a moment
    deadline = time.monotonic() + 10
    while not client.is_ready():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    info = client.stream(ticks)
    assert info in client.streams()
    assert (info.key, info.event_time, info.window) == (("symbol",), "at", "1s")
    grown = client.create_stream(ticks, {"extra": "float64?"}, partitions=4)
    assert (grown.columns[-1].name, grown.partitions) == ("extra", 4)
    listed = client.partitions(ticks)
    assert [p.partition for p in listed.partitions] == [0, 1, 2, 3]
    (writer,) = [w for w in client.writers() if w.state == "joined"]
    assert writer.gateway == "standalone"
    assert client.files(ticks).files == ()


def test_errors_say_what_to_do(client: Client, ticks: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        client.window(ticks, snapshot="zz")
    assert caught.value.field == "snapshot"
    assert "byte 0" in str(caught.value)
    with pytest.raises(InvalidRequest) as caught:
        client.sql("select nothing from trades")
    assert (caught.value.line, caught.value.column) == (1, 8)
    with pytest.raises(NotFound):
        client.window("no-such-stream")
    later = datetime.now(timezone.utc) + timedelta(hours=1)
    with pytest.raises(NotComplete) as held:
        client.window(ticks, end=later, wait="50ms")
    assert {by.partition for by in held.value.held_back_by} == {0, 1, 2}
    with pytest.raises(InvalidRequest, match="type is fixed"):
        client.create_stream(ticks, {"n": "string"})


def test_rows_past_retention_are_gone(client: Client) -> None:
    name = make_ticks(client, compaction="1s", retention="1s")
    with pytest.raises(Gone) as caught:
        _until_gone(client, name)
    assert caught.value.kept_from is not None


def _until_gone(client: Client, name: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        client.write(name, rows(0, 1))
        client.window(name, start=1, consistency="latest").close()
        time.sleep(0.2)


def test_nan_is_not_null_in_windows(client: Client) -> None:
    name = make_ticks(client)
    client.create_stream(name, {"f": "float64?"})
    receipts = client.write(name, [{"symbol": "A", "n": 1, "f": float("nan")}])
    table = client.window(name, consistency="latest", at_least=receipts, columns="f").to_arrow()
    assert str(table.column("f").to_pylist()) == "[nan]"


def test_the_token_is_sent_and_in_no_text(
    proxy: Proxy, ticks: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "hunter2-hunter2"
    proxy.plans.append(answer("HTTP/1.1 401 Who\ncontent-length: 0\nconnection: close\n\n"))
    proxy.plans.append(cut_after(0))
    texts = []
    with Client(proxy.url, token=secret, retry=Retry(total_s=0)) as client:
        for _ in range(2):
            with pytest.raises(TourbillonError) as caught:
                client.streams()
            texts.append(repr(caught.value) + str(caught.value.__cause__))
        texts += [repr(client), repr(client.window(ticks, consistency="latest"))]
        assert client._http.headers["authorization"] == f"Bearer {secret}"
    assert caplog.records
    assert secret not in "".join(texts) + caplog.text


def test_a_redirect_is_an_error_and_takes_no_token_elsewhere(url: str, proxy: Proxy) -> None:
    with proxied(url) as elsewhere:
        there = f"location: {elsewhere.url}/v1/streams"
        proxy.usual = answer(f"HTTP/1.1 307 Go\n{there}\ncontent-length: 0\nconnection: close\n\n")
        with Client(proxy.url, token="hunter2") as client, pytest.raises(ServiceError) as caught:
            client.streams()
        assert caught.value.status == 307
        assert elsewhere.connections == 0


def test_the_async_client_reads_as_the_sync_one(proxy: Proxy, client: Client, ticks: str) -> None:
    client.write(ticks, pa.table({"symbol": ["A"] * 20_000, "n": range(20_000)}))
    expected = final(client, ticks)
    end = datetime.now(timezone.utc)
    rng = random.Random(7)
    proxy.plans.extend(cut_after(rng.randrange(expected.nbytes)) for _ in range(5))

    async def read() -> None:
        async with AsyncClient(proxy.url, retry=QUICK) as other:
            result = await other.window(ticks, end=end, wait="10s")
            assert result.is_final
            batches = [batch async for batch in result]
            assert pa.Table.from_batches(batches).equals(expected)
            sizes = [
                (await page.to_arrow()).num_rows
                async for page in other.pages(ticks, limit=15_000, end=end)
            ]
            assert sizes == [15_000, 5_000]
            count = await other.sql(f'select count(*) from "{ticks}"')
            assert (await count.to_polars()).item() == 20_000
            bars = await other.bars(ticks, interval="1d", price="n", size="n", end=end)
            assert len(await bars.to_pandas()) == 1
            join = await other.asof(ticks, ticks, end=end, limit=10)
            assert (await join.to_arrow()).num_rows == 10
            assert await other.stream(ticks) in await other.streams()
            assert len((await other.partitions(ticks)).partitions) == 3
            await other.is_ready()
            assert await other.writers()
            assert (await other.files(ticks)).store
            with pytest.raises(NotFound):
                await other.window("no-such-stream")

    asyncio.run(read())
