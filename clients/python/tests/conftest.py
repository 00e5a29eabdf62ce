from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from proxy import Proxy, proxied
from service import running

from tourbillon import Client

_numbers = itertools.count()


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running service."""
    with running(tmp_path_factory.mktemp("service")) as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as one:
        yield one


@pytest.fixture
def proxy(url: str) -> Iterator[Proxy]:
    with proxied(url) as one:
        yield one


@pytest.fixture
def ticks(client: Client) -> str:
    """A new stream of numbered rows."""
    return make_ticks(client)


def make_ticks(client: Client, **definition: Any) -> str:
    name = f"ticks-{next(_numbers)}"
    columns = {"symbol": "string", "n": "int64", "price": "decimal(18,9)?", "at": "timestamp?"}
    chosen = {"event_time": "at", "partitions": 3, "window": "1s", **definition}
    client.create_stream(name, columns, key="symbol", **chosen)
    return name


def rows(first: int, last: int) -> list[dict[str, Any]]:
    return [{"symbol": f"S{n % 7}", "n": n} for n in range(first, last)]


Numbers = Callable[[str], list[int]]


@pytest.fixture
def stored(client: Client) -> Numbers:
    """The numbers of all rows of a stream."""

    def numbers(stream: str) -> list[int]:
        at_least = client.write(stream, {"symbol": "end", "n": -1})
        result = client.window(stream, consistency="latest", at_least=at_least, columns="n")
        found: list[int] = result.to_arrow().column("n").to_pylist()
        return [n for n in found if n >= 0]

    return numbers
