"""Requests as plain values, made of typed parameters. No I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ._times import duration_s, duration_text, time_text
from .errors import ConfigError
from .models import Receipt

ARROW = "application/vnd.apache.arrow.stream"
JSON = "application/json"
EVENTS = "text/event-stream"

_STREAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
#: The service closes a statement that takes longer than a minute by default.
SQL_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Request:
    """A request without address and login, which only the connection knows."""

    method: str
    path: str
    params: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = field(default=None, repr=False)
    #: Seconds that the service may be silent on purpose, besides the usual patience.
    patience_s: float = 0.0

    def with_param(self, name: str, value: str) -> Request:
        """The same with one parameter set, instead of what it was."""
        rest = tuple(pair for pair in self.params if pair[0] != name)
        return replace(self, params=(*rest, (name, value)))

    def without_param(self, name: str) -> Request:
        return replace(self, params=tuple(pair for pair in self.params if pair[0] != name))

    def has_param(self, name: str) -> bool:
        return any(pair[0] == name for pair in self.params)


def stream_path(stream: str, rest: str = "") -> str:
    """The path of a stream."""
    if not isinstance(stream, str) or _STREAM.fullmatch(stream) is None:
        raise ConfigError(
            f"{stream!r} is no stream's name: 1 to 128 of A-Za-z0-9_.-, a letter or digit first"
        )
    return f"/v1/streams/{stream}{rest}"


def names_text(value: str | Sequence[str]) -> str:
    return value if isinstance(value, str) else ",".join(value)


def position_text(value: str | Receipt | Sequence[Receipt] | Mapping[int, int]) -> str:
    """`at_least`: the highest offset of each partition."""
    if isinstance(value, str):
        return value
    if isinstance(value, Receipt):
        value = [value]
    highest: dict[int, int] = {}
    for positions in [value] if isinstance(value, Mapping) else [one.positions for one in value]:
        for partition, offset in positions.items():
            highest[partition] = max(offset, highest.get(partition, 0))
    if not highest:
        raise ConfigError("at_least has no positions: give a receipt of rows, or a token")
    return ",".join(f"{partition}:{offset}" for partition, offset in sorted(highest.items()))


def count_text(value: int) -> str:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(f"{value!r} is no count: use an integer from 0 on")
    return str(value)


_TEXT: dict[str, Callable[[Any], str]] = {
    "start": time_text,
    "end": time_text,
    "wait": duration_text,
    "interval": duration_text,
    "tolerance": duration_text,
    "columns": names_text,
    "right_columns": names_text,
    "on": names_text,
    "at_least": position_text,
    "limit": count_text,
    "partition": count_text,
}


def parameters(kind: type, options: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Query parameters of options; `kind` is the TypedDict that says which there are."""
    params: list[tuple[str, str]] = []
    for name, value in known(kind, options).items():
        if name == "key":
            params.extend(_keys(value))
        else:
            params.append((name, _TEXT.get(name, str)(value)))
    return tuple(params)


def known(kind: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options that were given; unknown ones are errors, as for any function."""
    there_are = kind.__annotations__
    for name in options:
        if name not in there_are:
            raise TypeError(f"unknown argument `{name}`: there are {', '.join(sorted(there_are))}")
    return {name: value for name, value in options.items() if value is not None}


def _keys(keys: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(f"key.{column}", _key_values(column, values)) for column, values in keys.items()]


def _key_values(column: str, values: Any) -> str:
    several = [values] if isinstance(values, str | int) else list(values)
    if not several:
        raise ConfigError(f"key.{column} has no values, so no row could match")
    texts = [str(v).lower() if isinstance(v, bool) else str(v) for v in several]
    for text in texts:
        if "," in text:
            raise ConfigError(f"key.{column}: `{text}` has a comma, which filters cannot: use sql")
    return ",".join(texts)


def patience(options: Mapping[str, Any]) -> float:
    return duration_s(options["wait"]) if options.get("wait") is not None else 2.0


def reading(path: str, kind: type, options: Mapping[str, Any], accept: str = ARROW) -> Request:
    """A request for rows."""
    params = parameters(kind, options)
    headers = (("accept", accept),)
    return Request("GET", path, params, headers, patience_s=patience(options))
