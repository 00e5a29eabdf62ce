"""A capture of real trades through the service and back, where it lies beside the project."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pytest
from proxy import Proxy, cut_after
from service import DATA

from tourbillon import Client, Limits, Retry, Rows

CAPTURE = DATA / "binance_trades.csv.gz"
ROWS = 78_638
STREAM = "capture"
EXACT = pa.decimal128(18, 9)

pytestmark = pytest.mark.skipif(
    not CAPTURE.is_file(), reason=f"the capture {CAPTURE.name} is not beside the project"
)


@pytest.fixture(scope="module")
def trades() -> pa.Table:
    """The capture in the columns of `trades`; prices stay exact."""
    types = {"price": pa.string(), "size": pa.string()}
    convert = pa.csv.ConvertOptions(column_types=types)
    raw = pa.csv.read_csv(CAPTURE, convert_options=convert)
    assert raw.num_rows == ROWS
    moments = pc.multiply(raw["event_ms"], 1_000_000)
    return pa.table(
        {
            "venue": raw["venue"],
            "symbol": raw["symbol"],
            "ts_event": moments.cast(pa.timestamp("ns", "UTC")),
            "price": raw["price"].cast(EXACT),
            "size": raw["size"].cast(EXACT),
            "side": raw["side"],
            "seq": raw["seq"],
            "ts_recv": raw["recv_ts_ns"].cast(pa.timestamp("ns", "UTC")),
        }
    )


def ordered(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Equal for equal rows in any order."""
    return table.cast(schema).sort_by([(name, "ascending") for name in schema.names])


def test_every_trade_comes_back_once_and_exact(
    client: Client, proxy: Proxy, trades: pa.Table
) -> None:
    """Written through answers that are lost, read as a window, by a subscription and by SQL."""
    usual = client.stream("trades")
    client.create_stream(
        STREAM, usual.columns, key=usual.key, event_time=usual.event_time, window="10s"
    )
    proxy.plans.extend(cut_after(size) for size in (0, 300, 0, 700, 0))
    quick = Retry(total_s=30, first_s=0.01, most_s=0.1)
    with Client(proxy.url, retry=quick) as broken, broken.writer(STREAM) as writer:
        receipts = writer.write(trades)
    assert sum(receipt.accepted or 0 for receipt in receipts) == ROWS
    repeated = sum(p.duplicate_rows for p in client.partitions(STREAM).partitions)
    assert repeated > 0, "nothing was sent twice, so nothing is shown"
    window = client.window(STREAM, end=datetime.now(timezone.utc), wait="20s").to_arrow()
    assert window.num_rows == ROWS
    own = window.select(trades.column_names)
    assert ordered(own, trades.schema).equals(ordered(trades, trades.schema))
    volumes = client.sql(f"select symbol, sum(size) as v from {STREAM} group by symbol").to_arrow()
    sums = trades.group_by("symbol").aggregate([("size", "sum")]).to_pylist()
    told = dict(zip(volumes["symbol"].to_pylist(), volumes["v"].to_pylist(), strict=True))
    assert told == {row["symbol"]: row["size_sum"] for row in sums}
    assert all(isinstance(volume, Decimal) for volume in told.values())
    assert _followed(client) == own.column("seq").to_pylist()


def _followed(client: Client) -> list[int]:
    found: list[int] = []
    with client.subscribe(STREAM, start="earliest", columns="seq") as following:
        for event in following:
            if isinstance(event, Rows):
                found += [row["seq"] for row in event.rows]
            if len(found) >= ROWS:
                return found
    raise AssertionError("the subscription ended")


def test_rows_one_by_one(client: Client, ticks: str, trades: pa.Table) -> None:
    """As a feed would send them."""
    part = trades.slice(0, 2000).select(["symbol", "price"]).to_pylist()
    with client.writer(ticks, limits=Limits(most_rows=300)) as writer:
        for number, row in enumerate(part):
            writer.write({**row, "n": number})
    read = client.window(ticks, end=datetime.now(timezone.utc), wait="10s").to_arrow()
    found = {row["n"]: (row["symbol"], row["price"]) for row in read.to_pylist()}
    assert found == {n: (row["symbol"], row["price"]) for n, row in enumerate(part)}
