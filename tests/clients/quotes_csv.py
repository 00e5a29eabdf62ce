"""Writes quotes of the sample capture as CSV for the stream `quotes`, a side a row.

    python3 tests/clients/quotes_csv.py ../shared/data/binance_3venues_ticks.parquet quotes.csv

Every fourth quote by its number, both sides of it. Spot quotes have no exchange time; theirs is the
time at which they were received.
"""

import sys

import duckdb

QUOTES = """
    SELECT venue, symbol, coalesce(event_ms * 1000000, recv_ts_ns) AS ts_event,
           CASE side WHEN 'bid' THEN price END AS bid, CASE side WHEN 'bid' THEN size END AS bid_size,
           CASE side WHEN 'ask' THEN price END AS ask, CASE side WHEN 'ask' THEN size END AS ask_size,
           seq, recv_ts_ns AS ts_recv
    FROM (SELECT *, row_number() OVER () AS place FROM read_parquet($source))
    WHERE kind = 'quote' AND seq % 4 = 0 ORDER BY place"""


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    source, target = sys.argv[1:]
    duckdb.connect().sql(QUOTES, params={"source": source}).write_csv(target, header=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
