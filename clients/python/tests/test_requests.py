from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from play import Clock

from tourbillon import ConfigError, Receipt
from tourbillon._http import Address
from tourbillon._plans import as_columns, asof, numbered
from tourbillon._requests import ARROW, parameters, reading, stream_path
from tourbillon._sequences import Lender
from tourbillon._sql import pin_statement, statement
from tourbillon._subscribe import subscription_request
from tourbillon.options import AsofOptions, BarOptions, WindowOptions


def test_every_parameter_of_a_window() -> None:
    receipts = [Receipt("s", 1, positions={0: 7, 3: 2}), Receipt("s", 2, positions={0: 5})]
    options: WindowOptions = {
        "time": "event",
        "start": datetime(1970, 1, 1, 0, 0, 1, tzinfo=timezone.utc),
        "end": 2_000_000_000,
        "key": {"symbol": ["A", "B"], "n": 7, "live": True},
        "partition": 2,
        "columns": ["hlc", "price"],
        "order": "desc",
        "limit": 10,
        "cursor": "c",
        "consistency": "latest",
        "snapshot": "1.2",
        "at_least": receipts,
        "wait": timedelta(seconds=5),
    }
    request = reading("/p", WindowOptions, options)
    assert dict(request.params) == {
        "time": "event",
        "start": "1000000000",
        "end": "2000000000",
        "key.symbol": "A,B",
        "key.n": "7",
        "key.live": "true",
        "partition": "2",
        "columns": "hlc,price",
        "order": "desc",
        "limit": "10",
        "cursor": "c",
        "consistency": "latest",
        "snapshot": "1.2",
        "at_least": "0:7,3:2",
        "wait": "5s",
    }
    assert set(options) == set(WindowOptions.__annotations__)
    assert dict(request.headers) == {"accept": ARROW}
    assert request.patience_s == 5


def test_bars_and_joins() -> None:
    bars: BarOptions = {"interval": timedelta(seconds=1), "price": "bid", "size": "bid_size"}
    assert dict(parameters(BarOptions, bars)) == {
        "interval": "1s",
        "price": "bid",
        "size": "bid_size",
    }
    join: AsofOptions = {"on": ["venue", "symbol"], "tolerance": "1s", "right_columns": "bid,ask"}
    request = asof(Clock().settings(), "trades", "quotes", join)._request
    assert request.path == "/v1/asof"
    assert dict(request.params) == {
        "on": "venue,symbol",
        "tolerance": "1s",
        "right_columns": "bid,ask",
        "left": "trades",
        "right": "quotes",
    }


@pytest.mark.parametrize(
    "options",
    [
        {"key": {"symbol": "A,B"}},
        {"key": {"symbol": []}},
        {"limit": -1},
        {"limit": True},
        {"partition": 1.5},
        {"start": datetime(2026, 1, 1)},
        {"at_least": []},
    ],
)
def test_arguments_that_would_mean_something_else_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        parameters(WindowOptions, options)


def test_unknown_arguments_are_named() -> None:
    with pytest.raises(TypeError, match="`colums`"):
        parameters(WindowOptions, {"colums": "a"})


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a b", ".a", "x" * 129, None])
def test_names_of_streams_stay_in_their_place_of_the_path(name: Any) -> None:
    with pytest.raises(ConfigError):
        stream_path(name)


def test_statements() -> None:
    request = statement("select 1", {"consistency": "final", "wait": timedelta(seconds=3)})
    body = json.loads(request.body or b"")
    assert body == {"query": "select 1", "consistency": "final", "wait": "3s"}
    pinned = json.loads(pin_statement(request, "trades=1.5").body or b"")
    assert pinned == body | {"snapshot": "trades=1.5"}


def test_subscriptions_begin_where_asked() -> None:
    cases: list[tuple[Any, str | None]] = [
        (None, None),
        ("earliest", "earliest"),
        ("o1.17-2", "o1.17-2"),
        (datetime(1970, 1, 1, 0, 0, 1, tzinfo=timezone.utc), "1000000000"),
    ]
    for start, text in cases:
        options = {"mode": "eager", "key": {"symbol": "A"}, "start": start}
        params = dict(subscription_request("trades", options).params)
        assert params.get("from") == text
        assert params["mode"] == "eager"
        assert params["key.symbol"] == "A"
        assert "start" not in params


def test_columns_with_a_question_mark_may_be_lacking() -> None:
    one, other = as_columns({"symbol": "string", "price": "decimal(18,9)?"})
    assert one.to_json() == {"name": "symbol", "type": "string", "nullable": False}
    assert other.to_json() == {"name": "price", "type": "decimal(18,9)", "nullable": True}


def test_a_number_of_the_callers_serves_one_batch() -> None:
    with numbered(Lender(), "feed", 7) as numbers:
        assert (numbers.source, numbers.take()) == ("feed", 7)
        with pytest.raises(ConfigError):
            numbers.take()
    for source, sequence in (("feed", None), (None, 7), ("feed", -1), ("feed", 1 << 64), ("ä", 1)):
        with pytest.raises(ConfigError), numbered(Lender(), source, sequence):
            pass


def test_addresses_carry_no_login() -> None:
    for url in ("ftp://h", "h:80", "http://", "http://u:hunter2@h", "http://h?token=hunter2"):
        with pytest.raises(ConfigError) as caught:
            Address(url, None, 30, False)
        assert "hunter2" not in str(caught.value)
    for token in ("hunter2\r\nx: y", "hunter2 x", "hunter2ä"):
        with pytest.raises(ConfigError) as caught:
            Address("http://h", token, 30, False)
        assert "hunter2" not in str(caught.value)
    address = Address("http://h/", "hunter2", 30, False)
    assert "hunter2" not in repr(address)
    assert address.client_arguments()["headers"]["authorization"] == "Bearer hunter2"
    assert "authorization" not in Address("http://h", None, 30, False).client_arguments()["headers"]


def test_the_wait_of_a_request_is_not_taken_for_silence() -> None:
    address = Address("http://h", None, 30, False)
    timeout = address.request_arguments(reading("/p", WindowOptions, {"wait": "60s"}))["timeout"]
    assert timeout.read == 90
    assert timeout.connect == 10
