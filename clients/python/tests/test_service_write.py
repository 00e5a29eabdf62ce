"""Writes to a running service, and what a network can do to them."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from conftest import Numbers, rows
from proxy import Proxy, answer, cut_after, silence

from tourbillon import (
    AsyncClient,
    Client,
    ConnectionFailed,
    Indeterminate,
    InvalidRequest,
    Limits,
    NotFound,
    Retry,
    RowsRefused,
    TooBusy,
)

BUSY = "HTTP/1.1 {status}\nretry-after: 1\ncontent-length: 0\nconnection: close\n\n"
QUICK = Retry(total_s=20, first_s=0.01, most_s=0.05)


def test_rows_come_back_as_they_went(client: Client, ticks: str) -> None:
    at = datetime(2026, 1, 31, 14, 30, 0, 1, timezone.utc)
    row = {"symbol": 'A,B\n"é"', "n": 2**62, "price": Decimal("0.000000001"), "at": at}
    (receipt,) = client.write(ticks, row)
    assert receipt.accepted == 1
    read = client.window(ticks, consistency="latest", at_least=receipt).to_arrow().to_pylist()
    assert [{name: r[name] for name in row} for r in read] == [row]
    assert read[0]["hlc"].value == receipt.first_hlc == receipt.last_hlc


def test_frames_of_all_kinds(client: Client, ticks: str, stored: Numbers) -> None:
    table = pa.table({"symbol": ["A", "B"], "n": [0, 1], "price": ["1.5", None]})
    client.write(ticks, table)
    client.write(ticks, table.to_batches()[0])
    client.write(ticks, table.to_pandas())
    frame = pl.DataFrame({"symbol": ["A", "B"], "n": [0, 1], "price": [Decimal("1.5"), None]})
    client.write(ticks, frame)
    assert sorted(stored(ticks)) == [0] * 4 + [1] * 4
    prices = client.sql(f'select price from "{ticks}" where n = 0').to_arrow().column(0).to_pylist()
    assert prices == [Decimal("1.5")] * 4


def test_what_is_read_can_be_written(client: Client, ticks: str) -> None:
    receipts = client.write(ticks, rows(0, 100))
    whole = client.window(
        ticks, consistency="latest", at_least=receipts, columns=["symbol", "n", "price", "at"]
    ).to_arrow()
    for copy in (whole, whole.to_pandas(), pl.from_arrow(whole)):
        assert sum(r.accepted or 0 for r in client.write(ticks, copy)) == 100


def test_writers_collect_rows(client: Client, ticks: str, stored: Numbers) -> None:
    with client.writer(ticks, limits=Limits(most_rows=10)) as writer:
        assert writer.write(rows(0, 5)) == []
        receipts = writer.write(rows(5, 32))
        assert [r.accepted for r in receipts] == [10, 10, 10]
        assert writer.waiting_rows == 2
    assert sorted(stored(ticks)) == list(range(32))


def test_a_writer_that_goes_with_rows_says_so(client: Client, ticks: str) -> None:
    writer = client.writer(ticks)
    writer.write(rows(0, 5))
    with pytest.warns(ResourceWarning, match="5 rows"):
        del writer


def test_threads_share_a_client(client: Client, ticks: str, stored: Numbers) -> None:
    with ThreadPoolExecutor(8) as pool:
        parts = [pool.submit(client.write, ticks, rows(n, n + 10)) for n in range(0, 800, 10)]
    sources = {receipt.source for part in parts for receipt in part.result()}
    assert len(sources) <= 8
    assert sorted(stored(ticks)) == list(range(800))


def test_line_protocol(client: Client, ticks: str, stored: Numbers) -> None:
    client.write_lines(f"{ticks},symbol=A n=0i 1\n{ticks},symbol=A n=1i,price=0.1 2")
    points = (f"{ticks},symbol=B n={n}i {n}" for n in range(2, 9))
    receipts = client.write_lines(points, precision="us", limits=Limits(most_rows=3))
    assert len(receipts) == 3
    assert sorted(stored(ticks)) == list(range(9))
    with pytest.raises(RowsRefused) as caught:
        client.write_lines([f"{ticks},symbol=B n=1i", f"{ticks},symbol=B n=x"])
    assert [row.row for row in caught.value.rows] == [2]


def test_an_answer_that_is_lost_stores_nothing_twice(
    proxy: Proxy, ticks: str, stored: Numbers
) -> None:
    proxy.plans.extend([cut_after(0), cut_after(20), cut_after(0)])
    with Client(proxy.url, retry=QUICK) as client:
        (receipt,) = client.write(ticks, rows(0, 50))
    assert receipt.accepted == 50
    assert proxy.connections == 4
    assert sorted(stored(ticks)) == list(range(50))


def test_without_the_number_they_would_be_stored_twice(client: Client, ticks: str) -> None:
    """Shows that the test above sees repeats at all."""
    (batch,) = client.write(ticks, rows(0, 5), source="feed", sequence=1)
    client.write(ticks, rows(0, 5), source="feed", sequence=1)
    last = client.write(ticks, rows(0, 5), source="feed", sequence=2)
    count = client.window(ticks, consistency="latest", at_least=last).to_arrow().num_rows
    assert (batch.sequence, count) == (1, 10)


@pytest.mark.parametrize("status", ["503 Service Unavailable", "429 Too Many Requests"])
def test_retry_after_is_kept(proxy: Proxy, ticks: str, stored: Numbers, status: str) -> None:
    proxy.plans.append(answer(BUSY.format(status=status)))
    with Client(proxy.url, retry=QUICK) as client:
        begun = time.monotonic()
        client.write(ticks, rows(0, 5))
        assert time.monotonic() - begun >= 1
    assert sorted(stored(ticks)) == list(range(5))


def test_a_pause_beyond_the_time_is_an_error_at_once(proxy: Proxy, ticks: str) -> None:
    proxy.plans.append(answer(BUSY.format(status="429 Too Many Requests")))
    with Client(proxy.url, retry=Retry(total_s=0.5)) as client, pytest.raises(TooBusy) as caught:
        client.write(ticks, rows(0, 5))
    assert caught.value.retry_after == 1
    assert [batch.rows for batch in caught.value.pending] == [5]


def test_silence_ends_with_the_timeout(proxy: Proxy, ticks: str, stored: Numbers) -> None:
    proxy.plans.append(silence(5))
    with Client(proxy.url, timeout_s=0.3, retry=QUICK) as client:
        begun = time.monotonic()
        client.write(ticks, rows(0, 5))
        assert 0.3 <= time.monotonic() - begun < 4
    assert sorted(stored(ticks)) == list(range(5))


def test_what_is_in_doubt_is_sent_again_later(proxy: Proxy, ticks: str, stored: Numbers) -> None:
    proxy.usual = cut_after(0)
    with Client(proxy.url, retry=Retry(total_s=0)) as client, client.writer(ticks) as writer:
        with pytest.raises(Indeterminate) as caught:
            client.write(ticks, rows(0, 5))
        assert writer.write(rows(5, 9)) == []
        with pytest.raises(Indeterminate):
            writer.flush()
        proxy.usual = None
        assert [r.accepted for r in client.resend(caught.value.pending)] == [5]
        assert [r.accepted for r in writer.flush()] == [4]
    assert sorted(stored(ticks)) == list(range(9))


def test_a_named_source_goes_on_after_a_restart(
    client: Client, ticks: str, stored: Numbers, tmp_path: Path
) -> None:
    for first in (0, 10, 20):
        with client.writer(ticks, source="named", state=tmp_path / "named.seq") as writer:
            assert writer.source == "named"
            writer.write(rows(first, first + 10))
    assert sorted(stored(ticks)) == list(range(30))


def test_refusals_say_where(client: Client, ticks: str, stored: Numbers) -> None:
    wrong = [*rows(0, 3), {"symbol": "A", "n": "x"}, {"symbol": "A"}]
    with pytest.raises(RowsRefused) as caught:
        client.write(ticks, wrong)
    assert [(row.row, row.column) for row in caught.value.rows] == [(4, "n"), (5, "n")]
    assert caught.value.batch is not None
    (receipt,) = client.write(ticks, wrong, on_error="skip")
    assert (receipt.accepted, receipt.refused) == (3, 2)
    assert [(row.row, row.column) for row in receipt.rows] == [(4, "n"), (5, "n")]
    assert sorted(stored(ticks)) == [0, 1, 2]
    with pytest.raises(InvalidRequest, match="price"):
        client.write(ticks, pd.DataFrame({"symbol": ["A"], "n": [1], "price": [1.5]}))
    with pytest.raises(NotFound):
        client.write("no-such-stream", rows(0, 1))


def test_nobody_there_is_no_doubt(url: str) -> None:
    with (
        Client("http://127.0.0.1:9", retry=Retry(total_s=0.2)) as client,
        pytest.raises(ConnectionFailed) as caught,
    ):
        client.write("ticks", rows(0, 1))
    assert not caught.value.is_ambiguous


def test_stamps_lie_above_what_was_seen(client: Client, ticks: str) -> None:
    (first,) = client.write(ticks, rows(0, 1))
    assert first.last_hlc is not None
    seen = first.last_hlc + 200_000_000
    (second,) = client.write(ticks, rows(1, 2), hlc=seen)
    assert second.first_hlc is not None
    assert second.first_hlc > seen


def test_the_async_client_writes_as_the_sync_one(proxy: Proxy, ticks: str, stored: Numbers) -> None:
    proxy.plans.extend([cut_after(0), answer(BUSY.format(status="503 Busy")), cut_after(0)])

    async def write() -> None:
        async with AsyncClient(proxy.url, retry=QUICK) as client:
            await client.write(ticks, rows(0, 10))
            async with client.writer(ticks, limits=Limits(most_rows=7)) as writer:
                tasks = [writer.write(rows(n, n + 5)) for n in range(10, 60, 5)]
                await asyncio.gather(*tasks)
            await client.write_lines([f"{ticks},symbol=A n=60i"])
            with pytest.raises(RowsRefused):
                await client.write(ticks, {"symbol": "A"})

    asyncio.run(write())
    assert sorted(stored(ticks)) == list(range(61))


def test_a_cancelled_write_stays_pending(proxy: Proxy, ticks: str, stored: Numbers) -> None:
    proxy.plans.append(silence(5))

    async def write() -> None:
        async with AsyncClient(proxy.url) as client, client.writer(ticks) as writer:
            await writer.write(rows(0, 5))
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(writer.flush(), 0.3)
            assert [batch.rows for batch in writer.pending] == [5]

    asyncio.run(write())
    assert sorted(stored(ticks)) == list(range(5))
