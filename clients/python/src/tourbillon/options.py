"""Parameters of requests, as keyword arguments of both clients: docs/API.md has what they mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from typing_extensions import Required, TypedDict

from ._times import Duration, Time
from .models import Receipt

Consistency = Literal["final", "latest"]
TimeKind = Literal["hlc", "event"]
Order = Literal["asc", "desc"]
Names = str | Sequence[str]
KeyValue = str | int | bool
#: Key columns and the values that rows may have there.
Keys = Mapping[str, KeyValue | Sequence[KeyValue]]
#: A token, or what a write was answered with.
Seen = str | Receipt | Sequence[Receipt] | Mapping[int, int]


class RowOptions(TypedDict, total=False):
    """Which rows: of windows, bars and joins."""

    time: TimeKind
    start: Time
    end: Time
    key: Keys
    consistency: Consistency
    wait: Duration
    snapshot: str
    limit: int
    cursor: str


class WindowOptions(RowOptions, total=False):
    """Of `window`."""

    at_least: Seen
    partition: int
    columns: Names
    order: Order


class PageOptions(TypedDict, total=False):
    """Of `pages`: those of a window with a limit."""

    time: TimeKind
    start: Time
    end: Time
    key: Keys
    consistency: Consistency
    wait: Duration
    snapshot: str
    limit: Required[int]
    cursor: str
    at_least: Seen
    partition: int
    columns: Names
    order: Order


class BarOptions(RowOptions, total=False):
    """Of `bars`."""

    at_least: Seen
    interval: Required[Duration]
    price: str
    size: str
    order: Order


class AsofOptions(RowOptions, total=False):
    """Of `asof`."""

    on: Names
    tolerance: Duration
    columns: Names
    right_columns: Names


class SqlOptions(TypedDict, total=False):
    """Of `sql`."""

    snapshot: str
    consistency: Consistency
    wait: Duration


class SubscribeOptions(TypedDict, total=False):
    """Of `subscribe`. `start`: `earliest`, `latest`, a time, or a cursor."""

    start: Time
    mode: Literal["ordered", "eager"]
    speed: float | Literal["max"]
    key: Keys
    columns: Names


class WriteOptions(TypedDict, total=False):
    """Of `write`: `hlc` is a stamp that the caller has seen; new stamps lie above it."""

    on_error: Literal["refuse", "skip"]
    hlc: int
