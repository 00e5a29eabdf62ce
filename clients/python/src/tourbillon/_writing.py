"""Sending batches until each is stored once, or refused. No I/O."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterable

from ._batches import Batch, Batcher, Data
from ._calls import Settings, attempt, parsed
from ._effects import Answer, Script, Sleep
from ._retry import REPEATABLE_S, may_be_stored, passes_for_writes
from .errors import Indeterminate, InvalidRequest, TourbillonError, note
from .models import Receipt


def deliver(batch: Batch, settings: Settings, is_in_doubt: bool = False) -> Script[Receipt]:
    """Sends a batch until it is acknowledged or refused; in doubt, it may be stored already."""
    attempts = settings.attempts()
    while True:
        outcome = yield from attempt(batch.request, batch.first_row)
        if isinstance(outcome, Answer):
            return receipt(batch, outcome)
        is_in_doubt = is_in_doubt or may_be_stored(outcome)
        if not passes_for_writes(outcome):
            raise outcome
        pause = attempts.pause(outcome)
        if pause is None:
            raise _undecided(batch, outcome) if is_in_doubt else outcome
        yield Sleep(pause)


def _undecided(batch: Batch, last: TourbillonError) -> Indeterminate:
    error = Indeterminate(
        f"{batch.rows} rows of source {batch.source}, sequence {batch.sequence}: stored or not is "
        f"unknown; send the batch again under the same numbers. The last reason: {last}",
        batch.source,
        batch.sequence,
    )
    error.__cause__ = last
    return error


def receipt(batch: Batch, answer: Answer) -> Receipt:
    if answer.head.status == 204 or not answer.body:
        return Receipt(batch.source, batch.sequence)
    return Receipt.parse(parsed(answer), batch.source, batch.sequence, batch.first_row)


class Outbox:
    """Batches that wait for their acknowledgement, in order."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._waiting: deque[Batch] = deque()
        self._since: dict[int, float] = {}

    @property
    def pending(self) -> tuple[Batch, ...]:
        return tuple(self._waiting)

    def put(self, batches: Iterable[Batch]) -> None:
        self._waiting.extend(batches)

    def clear(self) -> tuple[Batch, ...]:
        given_up = self.pending
        self._waiting.clear()
        self._since.clear()
        return given_up

    def send(self) -> Script[list[Receipt]]:
        """Sends all. After an error the batches that are not acknowledged wait on, but for one
        that is invalid: it would be refused again."""
        receipts: list[Receipt] = []
        while self._waiting:
            batch = self._waiting[0]
            try:
                receipts.append((yield from self._send(batch)))
            except TourbillonError as error:
                if isinstance(error, InvalidRequest):
                    error.batch = batch
                    self._done(batch)
                note(error, receipts=tuple(receipts), pending=self.pending)
                raise
            self._done(batch)
        return receipts

    def _send(self, batch: Batch) -> Script[Receipt]:
        now = self._settings.chance.monotonic()
        is_repeat = batch.sequence in self._since
        first = self._since.setdefault(batch.sequence, now)
        if now - first > REPEATABLE_S:
            raise Indeterminate(
                f"{batch.rows} rows of source {batch.source}, sequence {batch.sequence} were first "
                f"sent {now - first:.0f} s ago; the service may have forgotten the source, so a "
                "repeat could store them twice: look what is stored, then discard() or write anew",
                batch.source,
                batch.sequence,
            )
        return (yield from deliver(batch, self._settings, is_in_doubt=is_repeat))

    def _done(self, batch: Batch) -> None:
        self._waiting.popleft()
        self._since.pop(batch.sequence, None)


def resend(batches: Iterable[Batch], settings: Settings) -> Script[list[Receipt]]:
    outbox = Outbox(settings)
    outbox.put(batches)
    return outbox.send()


def send_points(batches: Iterable[Batch], settings: Settings) -> Script[list[Receipt]]:
    """Sends batches as they are made; an error tells how many points were taken."""
    outbox, receipts = Outbox(settings), list[Receipt]()
    for batch in batches:
        outbox.put([batch])
        try:
            receipts += yield from outbox.send()
        except TourbillonError as error:
            note(error, taken=batch.first_row + batch.rows, receipts=tuple(receipts))
            raise
    return receipts


class WriterCore:
    """What both writers share: a batcher and its outbox. There is one batch at a time, so memory
    is bounded however many rows are given."""

    def __init__(self, batcher: Batcher, settings: Settings) -> None:
        self._batcher = batcher
        self._outbox = Outbox(settings)

    @property
    def pending(self) -> tuple[Batch, ...]:
        return self._outbox.pending

    @property
    def waiting_rows(self) -> int:
        return self._batcher.waiting_rows

    def write(self, data: Data) -> Script[list[Receipt]]:
        """First what an error left behind; while that fails, no further rows are taken."""
        receipts = yield from self._outbox.send()
        before = self._batcher.taken_rows
        try:
            for batch in self._batcher.add(data):
                self._outbox.put([batch])
                receipts += yield from self._outbox.send()
        except TourbillonError as error:
            taken = self._batcher.taken_rows - before
            note(error, taken=taken, receipts=(*receipts, *error.receipts), pending=self.pending)
            raise
        return receipts

    def write_all(self, data: Data) -> Script[list[Receipt]]:
        """The same for a writer that is not used again: no row waits."""
        receipts: list[Receipt] = []
        try:
            receipts += yield from self.write(data)
            receipts += yield from self.flush()
        except TourbillonError as error:
            self._outbox.put(self._batcher.rest())
            taken = self._batcher.taken_rows
            note(error, taken=taken, receipts=(*receipts, *error.receipts), pending=self.pending)
            raise
        return receipts

    def flush(self) -> Script[list[Receipt]]:
        """Sends all that was taken."""
        self._outbox.put(self._batcher.rest())
        return (yield from self._outbox.send())

    def discard(self) -> tuple[Batch, ...]:
        self._outbox.put(self._batcher.rest())
        return self._outbox.clear()


class Unsent:
    """Says so if a writer goes with rows that nobody sent."""

    _core: WriterCore

    def __del__(self) -> None:
        core: WriterCore | None = getattr(self, "_core", None)
        if core is None:
            return
        rows = core.waiting_rows + sum(batch.rows for batch in core.pending)
        if rows:
            warnings.warn(
                f"a writer went with {rows} rows that were not sent: use `with`, or close()",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )
