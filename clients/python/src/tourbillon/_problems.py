"""Errors out of answers. No I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from ._effects import Answer, Broken
from ._retry import retry_after_s
from ._times import parse_ns
from .errors import ConnectionFailed, Problem, ServiceError, UnexpectedAnswer, of_problem
from .models import HeldBackBy, row_errors

_FIELD = re.compile(r"([A-Za-z_][A-Za-z0-9_.-]{0,63}): ")
_URN = "urn:tourbillon:problem:"


def failure(answer: Answer, first_row: int = 0) -> ServiceError:
    """The error that an answer other than 2xx is."""
    body = _members(answer.body)
    status = answer.head.status
    detail = body.get("detail") or answer.body[:300].decode(errors="replace") or "no reason given"
    field = _FIELD.match(detail) if status == 400 else None
    return of_problem(
        Problem(
            status=status,
            title=body.get("title") or _title(status),
            detail=detail,
            code=str(body.get("type") or "").removeprefix(_URN),
            request_id=body.get("request_id") or answer.head.headers.get("x-request-id"),
            field=field[1] if field else None,
            retry_after=retry_after_s(answer.head.headers.get("retry-after")),
            **_places(body, first_row),
        )
    )


def _places(body: Mapping[str, Any], first_row: int) -> dict[str, Any]:
    """Members that say where; one of a shape that nobody knows is left out."""
    try:
        return {
            "line": body.get("line"),
            "column": body.get("column"),
            "rows": row_errors(body, first_row),
            "refused": body.get("refused") or 0,
            "kept_from": parse_ns(body["kept_from"]) if body.get("kept_from") else None,
            "complete_through": (
                parse_ns(body["complete_through"]) if body.get("complete_through") else None
            ),
            "held_back_by": tuple(HeldBackBy.parse(p) for p in body.get("held_back_by") or ()),
        }
    except (UnexpectedAnswer, TypeError, AttributeError):
        return {}


def _members(body: bytes) -> Mapping[str, Any]:
    try:
        members = json.loads(body)
    except ValueError:
        return {}
    return members if isinstance(members, dict) else {}


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "error"


def unreached(broken: Broken) -> ConnectionFailed:
    return ConnectionFailed(broken.reason, broken.is_ambiguous)
