"""Subscriptions by httpx-sse and websockets while rows come in: cut at random, resumed, complete.

    python3 tests/clients/check_subscribe.py --url http://127.0.0.1:8080 [--rows 4000] [--seed 4]

Makes a stream of its own, subscribes from its beginning and reads until every row that was sent has
come; each connection is cut after a random number of events. The server-sent events go on by
Last-Event-ID, the WebSocket by its cursor. Each row must come once, in the order of the window of
the same rows. Exit codes: 0 all agree, 1 not, 2 usage.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import httpx_sse
import websockets

import windows
from windows import Mismatch

BATCH_ROWS = 50
PAUSE_S = 0.02
LIMIT_S = 90.0
MOST_EVENTS = 6
COLUMNS = "hlc,writer,n"

Key = tuple[str, int, int]


async def feed(url: str, stream: str, rows: int) -> None:
    """Sends rows in batches; each has its number."""
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        for start in range(0, rows, BATCH_ROWS):
            numbers = range(start, min(start + BATCH_ROWS, rows))
            lines = [json.dumps({"symbol": f"S{n % 7}", "n": n}) for n in numbers]
            headers = {
                "content-type": "application/x-ndjson",
                "tourbillon-source": stream,
                "tourbillon-sequence": str(start),
            }
            address = f"/v1/streams/{stream}/events"
            await repeated(client, address, "\n".join(lines), headers)
            await asyncio.sleep(PAUSE_S)


async def repeated(client: httpx.AsyncClient, address: str, body: str, headers: dict) -> None:
    """A 503 is sent again, as the interface says: source and sequence make that safe."""
    deadline = time.monotonic() + windows.RETRY_LIMIT_S
    while True:
        answer = await client.post(address, content=body, headers=headers)
        if answer.status_code == 200:
            return
        if answer.status_code != 503 or time.monotonic() > deadline:
            raise Mismatch(f"{address}: {answer.status_code} {answer.text[:300]}")
        await asyncio.sleep(windows.RETRY_PAUSE_S)


# One connection: events as (name, cursor, data), from the beginning or after a cursor.
Connection = Callable[[str, str, str | None], AsyncIterator[tuple[str, str, dict]]]


async def events(url: str, query: str, cursor: str | None) -> AsyncIterator[tuple[str, str, dict]]:
    headers = {"last-event-id": cursor} if cursor else {}
    async with httpx.AsyncClient(timeout=30) as client:
        opened = httpx_sse.aconnect_sse(client, "GET", f"{url}{query}&from=earliest", headers=headers)
        async with opened as source:
            async for event in source.aiter_sse():
                yield event.event, event.id, json.loads(event.data)


async def messages(url: str, query: str, cursor: str | None) -> AsyncIterator[tuple[str, str, dict]]:
    address = url.replace("http", "ws", 1) + f"{query}&from={cursor or 'earliest'}"
    async with websockets.connect(address, max_size=None) as socket:
        async for text in socket:
            message = json.loads(text)
            yield message["type"], message["cursor"], message


async def follow(connect: Connection, url: str, query: str, rows: int, rng: random.Random):
    """All rows as they came, and how many connections that took."""
    got: list[Key] = []
    cursor, cuts = None, 0
    while len(got) < rows:
        left = rng.randint(1, MOST_EVENTS)
        stream = connect(url, query, cursor)
        try:
            async for name, at, data in stream:
                cursor = at
                if name == "end":
                    raise Mismatch(f"ended: {data['reason']}")
                for row in data.get("rows", []):
                    got.append((row["hlc"], row["writer"], row["n"]))
                left -= 1
                if left == 0 or len(got) >= rows:
                    break
        finally:
            # cut, whatever else was on the way
            await stream.aclose()
        cuts += 1
    return got, cuts


def window(url: str, stream: str, rows: int) -> list[Key]:
    body = windows.fetch_complete(url, stream, windows.NDJSON, windows.count_lines, rows)
    decoded = [json.loads(line) for line in body.decode().splitlines()]
    return [(row["hlc"], row["writer"], row["n"]) for row in decoded]


def compare(name: str, got: list[Key], expected: list[Key], ordered: bool) -> None:
    if len(set(got)) != len(got):
        raise Mismatch(f"{name}: {len(got) - len(set(got))} rows came twice")
    if (got if ordered else sorted(got)) != (expected if ordered else sorted(expected)):
        missing = set(expected) - set(got)
        raise Mismatch(f"{name}: other rows, or in another order; {len(missing)} missing")


async def check(url: str, rows: int, seed: int) -> str:
    stream = f"subscribed-{time.time_ns()}"
    columns = [{"name": "symbol", "type": "string"}, {"name": "n", "type": "int64"}]
    definition = {"columns": columns, "key": ["symbol"], "partitions": 3, "window": "1s"}
    made = httpx.put(f"{url}/v1/streams/{stream}", json=definition, timeout=30)
    if made.status_code != 200:
        raise Mismatch(f"cannot make {stream}: {made.status_code} {made.text[:300]}")
    asked = {
        f"{name} {mode}": (connect, mode)
        for name, connect in (("sse", events), ("websocket", messages))
        for mode in ("ordered", "eager")
    }
    following: list[Awaitable] = []
    for n, (connect, mode) in enumerate(asked.values()):
        query = f"/v1/streams/{stream}/subscribe?mode={mode}&columns={COLUMNS}"
        rng = random.Random(seed + n)
        following.append(follow(connect, url, query, rows, rng))
    done = asyncio.gather(feed(url, stream, rows), *following)
    _, *results = await asyncio.wait_for(done, LIMIT_S)
    expected = window(url, stream, rows)
    told = []
    for name, (got, connections) in zip(asked, results):
        compare(name, got, expected, "ordered" in name)
        if connections < 3:
            raise Mismatch(f"{name}: {connections} connections, so next to nothing was cut")
        told.append(f"{name} over {connections} connections")
    return f"{rows} rows each once: {', '.join(told)} (seed {seed})"


def main() -> int:
    parser = argparse.ArgumentParser(description="Follow a stream through cuts.")
    parser.add_argument("--url", required=True)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=4)
    a = parser.parse_args()

    def run() -> str:
        try:
            return asyncio.run(check(a.url.rstrip("/"), a.rows, a.seed))
        except (TimeoutError, httpx.HTTPError, websockets.WebSocketException) as error:
            raise Mismatch(f"{type(error).__name__}: {error}") from error

    return windows.run("check_subscribe", run)


if __name__ == "__main__":
    sys.exit(main())
