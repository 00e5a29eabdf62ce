"""Reading rows: an answer is opened, streamed, and gone on with where its connection broke. No I/O.

An answer names its snapshot, and the same request under that snapshot gives the same rows in the
same order. So after a break the request is sent again with it, and the rows that the caller has
are left out. Memory is bounded by one batch.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa

from ._arrow import ArrowStream
from ._calls import Settings, refusal
from ._effects import Broken, Close, Emit, Head, Script, Sleep, Source, opened, read
from ._problems import unreached
from ._requests import Request
from ._retry import passes_for_reads
from ._times import parse_ns
from .errors import AnswerBroken, TourbillonError, UnexpectedAnswer

_NEXT = re.compile(r'<([^>]*)>\s*;\s*rel="?next"?')


@dataclass(frozen=True)
class Told:
    """What the headers of an answer tell."""

    snapshot: str | None
    complete_through: int | None
    is_final: bool
    next_cursor: str | None
    request_id: str | None


def told(head: Head) -> Told:
    through = head.headers.get("tourbillon-complete-through")
    return Told(
        snapshot=head.headers.get("tourbillon-snapshot"),
        complete_through=parse_ns(through) if through else None,
        is_final=head.headers.get("tourbillon-final") == "true",
        next_cursor=next_cursor(head.headers.get("link")),
        request_id=head.headers.get("x-request-id"),
    )


def next_cursor(link: str | None) -> str | None:
    """The cursor of the next page. The rest of the address is the request's own."""
    match = _NEXT.search(link or "")
    if match is None:
        return None
    cursors = parse_qs(urlsplit(match[1]).query).get("cursor")
    if not cursors:
        raise UnexpectedAnswer("the link to the next page has no cursor")
    return cursors[0]


def pin_window(request: Request, snapshot: str) -> Request:
    """The same request under a snapshot. A cursor names one already."""
    if request.has_param("cursor"):
        return request
    return request.with_param("snapshot", snapshot).without_param("at_least")


class Reading:
    """One answer with rows, over as many connections as it takes.

    `is_repeatable`: the rows come in the same order each time. Answers to SQL need not.
    `pin` makes the request one under a snapshot.
    """

    def __init__(
        self,
        request: Request,
        settings: Settings,
        is_repeatable: bool = True,
        pin: Callable[[Request, str], Request] = pin_window,
    ) -> None:
        self._request = request
        self._is_repeatable = is_repeatable
        self._pin = pin
        self._attempts = settings.attempts()
        self._stream = ArrowStream()
        self._waiting: list[pa.RecordBatch] = []
        self.given_rows = 0

    def begin(self) -> Script[tuple[Told, pa.Schema]]:
        """Opens the answer and reads as far as its schema."""
        while True:
            outcome = yield from self._open()
            if not isinstance(outcome, TourbillonError):
                head = told(outcome)
                if head.snapshot is not None:
                    self._request = self._pin(self._request, head.snapshot)
                error = yield from self._read_schema()
                if error is None:
                    return head, self._stream.schema
                outcome = error
            yield from self._pause(outcome)

    def _open(self) -> Script[Head | TourbillonError]:
        self._stream, self._waiting = ArrowStream(), []
        head = yield from opened(self._request)
        if isinstance(head, Broken):
            return unreached(head)
        error = yield from refusal(head)
        return head if error is None else error

    def _read_schema(self) -> Script[TourbillonError | None]:
        while self._stream.schema is None:
            error = yield from self._read()
            if error is not None:
                return error
        return None

    def _read(self) -> Script[TourbillonError | None]:
        """Reads some bytes; batches that they complete wait in `_waiting`."""
        data = yield from read()
        if isinstance(data, Broken):
            return AnswerBroken(data.reason)
        if not data:
            return AnswerBroken("the answer ended before its end marker")
        self._waiting.extend(self._stream.feed(data))
        return None

    def _pause(self, error: TourbillonError) -> Script[None]:
        pause = self._attempts.pause(error) if passes_for_reads(error) else None
        if pause is None:
            raise error
        yield Close()
        yield Sleep(pause)

    def batches(self) -> Source[pa.RecordBatch]:
        """The rows; call `begin` before."""
        skip = 0
        while True:
            waiting, self._waiting = self._waiting, []
            for batch in waiting:
                skipped = min(skip, batch.num_rows)
                skip -= skipped
                if skipped < batch.num_rows:
                    self.given_rows += batch.num_rows - skipped
                    self._attempts.restart()
                    yield Emit(batch.slice(skipped))
            if self._stream.is_ended:
                yield Close()
                return
            error = yield from self._read()
            if error is not None:
                yield from self._go_on(error)
                skip = self.given_rows

    def _go_on(self, error: TourbillonError) -> Script[None]:
        if self.given_rows and not self._is_repeatable:
            raise AnswerBroken(
                f"{error} after {self.given_rows} rows: the order of this answer may differ when "
                "it is repeated, so ask again, and give it an `order by` that is unique"
            )
        failed: TourbillonError | None = error
        while failed is not None:
            yield from self._pause(failed)
            outcome = yield from self._open()
            failed = outcome if isinstance(outcome, TourbillonError) else None
