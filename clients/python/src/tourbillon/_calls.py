"""Scripts of requests whose answers are small. No I/O."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ._effects import Answer, Broken, Head, Script, Sleep, opened, rest
from ._problems import failure, unreached
from ._requests import Request
from ._retry import Attempts, Chance, Retry, passes_for_reads
from .errors import TourbillonError, UnexpectedAnswer

#: Longest answer that is read whole.
ANSWER_BYTES = 64 << 20
#: Longest error answer.
PROBLEM_BYTES = 1 << 20


@dataclass(frozen=True)
class Settings:
    """What scripts need to know besides their request."""

    retry: Retry = field(default_factory=Retry)
    chance: Chance = field(default_factory=Chance)

    def attempts(self) -> Attempts:
        return Attempts(self.retry, self.chance)


def refusal(head: Head, first_row: int = 0) -> Script[TourbillonError | None]:
    """The error of an answer other than 2xx, whose body is read; None if it is none."""
    if 200 <= head.status < 300:
        return None
    body = yield from rest(PROBLEM_BYTES)
    # the status says enough where the text is lost
    text = b"" if isinstance(body, Broken) else body
    return failure(Answer(head, text), first_row)


def attempt(request: Request, first_row: int = 0) -> Script[Answer | TourbillonError]:
    """One try."""
    head = yield from opened(request)
    if isinstance(head, Broken):
        return unreached(head)
    error = yield from refusal(head, first_row)
    if error is not None:
        return error
    body = yield from rest(ANSWER_BYTES)
    return unreached(body) if isinstance(body, Broken) else Answer(head, body)


def call(
    request: Request,
    settings: Settings,
    passes: Callable[[Exception], bool] = passes_for_reads,
) -> Script[Answer]:
    """Tries until there is an answer, an error that stays, or no time left."""
    attempts = settings.attempts()
    while True:
        outcome = yield from attempt(request)
        if isinstance(outcome, Answer):
            return outcome
        pause = attempts.pause(outcome) if passes(outcome) else None
        if pause is None:
            raise outcome
        yield Sleep(pause)


def fetch_json(request: Request, settings: Settings) -> Script[Any]:
    answer = yield from call(request, settings)
    return parsed(answer)


def parsed(answer: Answer) -> Any:
    try:
        return json.loads(answer.body)
    except ValueError as error:
        raise UnexpectedAnswer(f"the answer is not JSON: {error}") from None
