"""What can go wrong. Each error says what to do; secrets are in none of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._batches import Batch
    from .models import HeldBackBy, Receipt


class TourbillonError(Exception):
    """Base of all errors of this package.

    Errors of a write tell what became of it: `receipts` of batches that are stored, `pending`, the
    batches that are not acknowledged, to be sent again under the same numbers, and `taken`.
    """

    receipts: tuple[Receipt, ...] = ()
    pending: tuple[Batch, ...] = ()
    #: How many rows of the call are in receipts, in pending batches, or refused.
    taken: int = 0


class ConfigError(TourbillonError, ValueError):
    """An argument cannot be used; nothing was sent."""


class ConnectionFailed(TourbillonError):
    """The service was not reached, or did not answer in time.

    `is_ambiguous`: the request may have been carried out all the same.
    """

    def __init__(self, text: str, is_ambiguous: bool) -> None:
        super().__init__(text)
        self.is_ambiguous = is_ambiguous


class AnswerBroken(TourbillonError):
    """An answer ended before it was whole, and could not be gone on with."""


class UnexpectedAnswer(TourbillonError):
    """An answer that this client cannot read: another service, or another version."""


class SubscriptionLost(TourbillonError):
    """A subscription could not be resumed in time. `subscribe(stream, start=cursor)` goes on."""

    def __init__(self, text: str, cursor: str | None) -> None:
        super().__init__(text)
        self.cursor = cursor


class Indeterminate(TourbillonError):
    """Nobody knows whether the rows are stored.

    Sending the same batch again, under the same source and sequence, stores nothing twice:
    `Writer.flush()` does, and `Client.resend(error.pending)`.
    """

    def __init__(self, text: str, source: str, sequence: int) -> None:
        super().__init__(text)
        self.source = source
        self.sequence = sequence


@dataclass(frozen=True)
class RowError:
    """A row that was refused: its number from 1 among the rows given, column and reason."""

    row: int
    reason: str
    column: str | None = None


@dataclass(frozen=True)
class Problem:
    """The body of an error answer (RFC 9457), as far as the service documents it."""

    status: int
    title: str
    detail: str
    code: str = ""
    request_id: str | None = None
    field: str | None = None
    line: int | None = None
    column: int | None = None
    rows: tuple[RowError, ...] = ()
    refused: int = 0
    kept_from: int | None = None
    complete_through: int | None = None
    held_back_by: tuple[HeldBackBy, ...] = ()
    retry_after: float | None = None


class ServiceError(TourbillonError):
    """The service answered with an error. `problem` has all that it told."""

    def __init__(self, problem: Problem) -> None:
        ending = f" (request {problem.request_id})" if problem.request_id else ""
        super().__init__(f"{problem.status} {problem.title}: {problem.detail}{ending}")
        self.problem = problem

    @property
    def status(self) -> int:
        return self.problem.status

    @property
    def code(self) -> str:
        """The kind of problem in a word: `invalid`, `unavailable`, .."""
        return self.problem.code

    @property
    def request_id(self) -> str | None:
        return self.problem.request_id

    @property
    def retry_after(self) -> float | None:
        return self.problem.retry_after


class InvalidRequest(ServiceError):
    """400: `field` is the parameter at fault; `line` and `column` the place in a statement.

    Of a write, `batch` is the one that was refused: no row of it is stored, it is not `pending`.
    """

    batch: Batch | None = None

    @property
    def field(self) -> str | None:
        return self.problem.field

    @property
    def line(self) -> int | None:
        return self.problem.line

    @property
    def column(self) -> int | None:
        return self.problem.column


class RowsRefused(InvalidRequest):
    """400 for rows: `rows` are the first hundred at fault."""

    @property
    def rows(self) -> Sequence[RowError]:
        return self.problem.rows

    @property
    def refused(self) -> int:
        """How many rows were refused."""
        return self.problem.refused


class NotAllowed(ServiceError):
    """401 or 403."""


class NotFound(ServiceError):
    """404: no such stream."""


class Gone(ServiceError):
    """410: retention has removed what was asked for; rows from `kept_from` (ns) on are left."""

    @property
    def kept_from(self) -> int | None:
        return self.problem.kept_from


class TooLarge(ServiceError):
    """413: the body is over the service's limit; use smaller batches."""


class TooBusy(ServiceError):
    """429, after all retries: send less at a time."""


class Unavailable(ServiceError):
    """503 and its like, after all retries."""


class NotComplete(Unavailable):
    """503: the stream is not complete as far as was asked for. `held_back_by` says why.

    Not tried again: give a longer `wait`, or take what there is with `consistency="latest"`.
    """

    @property
    def held_back_by(self) -> Sequence[HeldBackBy]:
        return self.problem.held_back_by

    @property
    def complete_through(self) -> int | None:
        return self.problem.complete_through


_BY_STATUS: dict[int, type[ServiceError]] = {
    400: InvalidRequest,
    401: NotAllowed,
    403: NotAllowed,
    404: NotFound,
    410: Gone,
    413: TooLarge,
    429: TooBusy,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def of_problem(problem: Problem) -> ServiceError:
    """The error of the kind that the problem is."""
    kind: type[ServiceError] = _BY_STATUS.get(problem.status, ServiceError)
    if kind is InvalidRequest and problem.rows:
        kind = RowsRefused
    if kind is Unavailable and problem.held_back_by:
        kind = NotComplete
    return kind(problem)


def note(error: BaseException, **members: Any) -> None:
    """Fills members of an error of this package; other exceptions stay as they are."""
    if isinstance(error, TourbillonError):
        for name, value in members.items():
            setattr(error, name, value)
