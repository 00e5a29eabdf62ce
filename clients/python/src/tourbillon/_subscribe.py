"""Subscriptions that go on by themselves: each row once, whatever breaks. No I/O.

Every event names a cursor: the place after it. The cursor of an event counts once the event was
handed out whole, and the next connection begins there, so nothing is missed and nothing repeated.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Generator
from decimal import Decimal
from typing import Any

from ._calls import Settings, attempt, parsed, refusal
from ._effects import (
    Answer,
    Broken,
    Close,
    Effect,
    Emit,
    Head,
    Reply,
    Script,
    Sleep,
    Source,
    opened,
    read,
)
from ._problems import unreached
from ._requests import EVENTS, Request, known, parameters, stream_path
from ._retry import passes_for_reads
from ._sse import EventParser, ServerEvent
from ._times import Time, parse_ns
from ._types import SYSTEM_TYPES
from .errors import AnswerBroken, SubscriptionLost, TourbillonError, UnexpectedAnswer
from .events import Event, Rows, Watermark
from .models import StreamInfo, member
from .options import SubscribeOptions

_log = logging.getLogger("tourbillon")


def subscription_request(stream: str, options: dict[str, Any]) -> Request:
    """The request that begins a subscription."""
    given = known(SubscribeOptions, options)
    start: Time | None = given.pop("start", None)
    params = parameters(SubscribeOptions, given)
    request = Request("GET", stream_path(stream, "/subscribe"), params, (("accept", EVENTS),))
    if start is None:
        return request
    # a time is spelled as in windows; words and cursors are text already
    from_ = parameters(_Start, {"start": start})[0][1]
    return request.with_param("from", from_)


class _Start(SubscribeOptions, total=False):
    """Only names `start`, to be spelled as a time."""


class Following:
    """The state of one subscription."""

    def __init__(self, stream: str, options: dict[str, Any], settings: Settings) -> None:
        self._request = subscription_request(stream, options)
        self._definition = Request("GET", stream_path(stream))
        self._attempts = settings.attempts()
        self._parser = EventParser()
        self._info: StreamInfo | None = None
        self.cursor: str | None = None
        #: How often the connection was opened.
        self.connections = 0

    def begin(self) -> Script[None]:
        """Opens the first connection. Its refusals are the caller's errors."""
        while True:
            error = yield from self._connect()
            if error is None:
                return
            pause = self._attempts.pause(error) if passes_for_reads(error) else None
            if pause is None:
                raise error
            yield Sleep(pause)

    def _connect(self) -> Script[TourbillonError | None]:
        # columns may have been added since
        definition = yield from attempt(self._definition)
        if not isinstance(definition, Answer):
            return definition
        self._info = StreamInfo.parse(parsed(definition))
        request = self._request
        if self.cursor is not None:
            request = request.with_param("from", self.cursor)
        head = yield from opened(request)
        if isinstance(head, Broken):
            return unreached(head)
        error = yield from refusal(head)
        if error is None:
            self._begun(head)
        return error

    def _begun(self, head: Head) -> None:
        kind = head.headers.get("content-type", "").split(";")[0]
        if kind != EVENTS:
            raise UnexpectedAnswer(f"the subscription is answered as `{kind}`")
        self.connections += 1
        self._parser = EventParser()
        if self.cursor is None:
            self.cursor = head.headers.get("tourbillon-cursor")

    def events(self) -> Source[Event]:
        """Events for as long as they are taken; call `begin` before."""
        while True:
            data = yield from read()
            reason = self._why_ended(data)
            if reason is None and isinstance(data, bytes):
                reason = yield from self._hand_out(data)
            if reason is not None:
                yield from self._resume(reason)

    def _hand_out(self, data: bytes) -> Generator[Effect | Emit[Event], Reply, str | None]:
        """The events that are whole with `data`; comes back with why there are no more, if so."""
        for raw in self._parser.feed(data):
            if raw.name == "end":
                self.cursor = raw.id or self.cursor
                return str(_members(raw).get("reason"))
            event = self._event(raw)
            if isinstance(event, Rows) and self._has_new_columns(event):
                return "the stream has columns that are not known here"
            self.cursor = raw.id or self.cursor
            if event is not None:
                self._attempts.restart()
                yield Emit(event)
        return None

    @staticmethod
    def _has_new_columns(event: Rows) -> bool:
        """Whether columns came between the question for them and the subscription."""
        known = {column.name for column in event.stream.columns} | set(SYSTEM_TYPES)
        return bool(event.rows) and not known.issuperset(event.rows[0])

    @staticmethod
    def _why_ended(data: bytes | Broken) -> str | None:
        if isinstance(data, Broken):
            return data.reason
        return None if data else "the service closed the connection"

    def _resume(self, reason: str) -> Script[None]:
        _log.info("subscription goes on after: %s", reason)
        error: TourbillonError | None = AnswerBroken(reason)
        while error is not None:
            pause = self._attempts.pause(error)
            if pause is None or not passes_for_reads(error):
                yield Close()
                if passes_for_reads(error):
                    raise SubscriptionLost(f"cannot go on: {error}", self.cursor) from error
                raise error
            yield Close()
            yield Sleep(pause)
            error = yield from self._connect()

    def _event(self, raw: ServerEvent) -> Event | None:
        """What the caller gets; events of other names are of later versions, and left out."""
        if raw.name == "watermark":
            return Watermark(parse_ns(member(_members(raw), "complete_through")), raw.id)
        if raw.name != "rows" or self._info is None:
            return None
        body = _members(raw)
        return Rows(
            rows=tuple(member(body, "rows")),
            is_final=bool(body.get("final")),
            partition=body.get("partition"),
            cursor=raw.id,
            stream=self._info,
        )


def _members(raw: ServerEvent) -> dict[str, Any]:
    try:
        members = json.loads(raw.data, parse_float=Decimal)
    except ValueError as error:
        raise UnexpectedAnswer(f"the data of an event is not JSON: {error}") from None
    if not isinstance(members, dict):
        raise UnexpectedAnswer("the data of an event is not an object")
    return members
