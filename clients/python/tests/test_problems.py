from __future__ import annotations

import json
from typing import Any

import pytest

from tourbillon import (
    Gone,
    InvalidRequest,
    NotAllowed,
    NotFound,
    RowError,
    RowsRefused,
    ServiceError,
    TooBusy,
    TooLarge,
    Unavailable,
)
from tourbillon._effects import Answer, Head
from tourbillon._problems import failure


def of(status: int, headers: dict[str, str] | None = None, **members: Any) -> ServiceError:
    body = {"title": "T", "status": status, "detail": "why", **members}
    return failure(Answer(Head(status, headers or {}), json.dumps(body).encode()), first_row=10)


def test_each_status_has_its_error() -> None:
    kinds = {
        400: InvalidRequest,
        401: NotAllowed,
        403: NotAllowed,
        404: NotFound,
        410: Gone,
        413: TooLarge,
        429: TooBusy,
        502: Unavailable,
        503: Unavailable,
        418: ServiceError,
    }
    for status, kind in kinds.items():
        assert type(of(status)) is kind


def test_all_that_the_service_tells_is_there() -> None:
    error = of(
        400,
        type="urn:tourbillon:problem:invalid",
        detail="snapshot: expected `1.` at byte 0",
        request_id="r-1",
        line=3,
        column=8,
    )
    assert isinstance(error, InvalidRequest)
    assert (error.code, error.field, error.request_id) == ("invalid", "snapshot", "r-1")
    assert (error.line, error.column) == (3, 8)
    for part in ("400", "expected `1.` at byte 0", "r-1"):
        assert part in str(error)
    gone = of(410, kept_from="2026-01-31T14:30:00.000000001Z")
    assert isinstance(gone, Gone)
    assert gone.kept_from == 1_769_869_800_000_000_001
    assert of(503, {"retry-after": "4"}).retry_after == 4


def test_rows_are_numbered_among_all_that_were_given() -> None:
    rows = [{"row": 1, "column": "price", "reason": "x"}, {"row": 3, "reason": "y"}]
    error = of(400, rows=rows, refused=2)
    assert isinstance(error, RowsRefused)
    assert list(error.rows) == [RowError(11, "x", "price"), RowError(13, "y", None)]
    assert error.refused == 2


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"\xff", b'{"rows":[{}],"kept_from":1}'])
def test_errors_of_proxies_are_read_as_far_as_they_go(body: bytes) -> None:
    error = failure(Answer(Head(502, {"x-request-id": "r-2"}), body))
    assert isinstance(error, Unavailable)
    assert error.request_id == "r-2"
    assert "502" in str(error)
