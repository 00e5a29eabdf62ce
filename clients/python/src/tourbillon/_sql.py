"""Requests of SQL. No I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ._requests import ARROW, JSON, SQL_PATIENCE_S, Request, known, patience
from ._times import Duration, duration_s, duration_text
from .options import SqlOptions


def statement(query: str, options: Mapping[str, Any]) -> Request:
    body = {"query": query, **known(SqlOptions, options)}
    if "wait" in body:
        body["wait"] = _wait(body["wait"])
    headers = (("accept", ARROW), ("content-type", JSON))
    waits = SQL_PATIENCE_S + patience(options)
    return Request("POST", "/v1/sql", (), headers, json.dumps(body).encode(), waits)


def _wait(value: Duration) -> str:
    """Seconds or milliseconds, which is all that statements take."""
    text = duration_text(value)
    return text if not text.endswith("us") else f"{max(1, round(duration_s(text) * 1000))}ms"


def pin_statement(request: Request, snapshot: str) -> Request:
    """The same statement under a snapshot."""
    body = json.loads(request.body or b"{}") | {"snapshot": snapshot}
    return replace(request, body=json.dumps(body).encode())
