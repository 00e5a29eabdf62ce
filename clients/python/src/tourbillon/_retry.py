"""When to try again, and after how long. No I/O; clock and chance are given."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

from .errors import AnswerBroken, ConfigError, ConnectionFailed, NotComplete, ServiceError

#: The service forgets a source that was silent for an hour; later repeats could store twice.
SOURCE_MEMORY_S = 3600.0
#: So long after its first sending a batch may still be repeated.
REPEATABLE_S = SOURCE_MEMORY_S - 600.0

_PASSING = frozenset({408, 429, 502, 503, 504})


@dataclass(frozen=True)
class Retry:
    """How long to try, all attempts and pauses together, and how long to pause between.

    Pauses double from `first_s` to `most_s`, each cut by chance to between half and all of it; a
    longer `Retry-After` of the service is kept. `total_s=0` tries once.
    """

    total_s: float = 60.0
    first_s: float = 0.1
    most_s: float = 5.0

    def __post_init__(self) -> None:
        if not 0 <= self.total_s <= REPEATABLE_S / 2:
            raise ConfigError(f"total_s is {self.total_s}: use 0 to {REPEATABLE_S / 2:.0f} seconds")
        if not 0 < self.first_s <= self.most_s:
            raise ConfigError("pauses must be above 0, and most_s not below first_s")


@dataclass(frozen=True)
class Chance:
    """Time and randomness, for tests to replace."""

    monotonic: Callable[[], float] = time.monotonic
    random: Callable[[], float] = field(default=random.random)


class Attempts:
    """The attempts of one request."""

    def __init__(self, retry: Retry, chance: Chance) -> None:
        self._retry = retry
        self._chance = chance
        self.restart()

    def restart(self) -> None:
        """After progress: all the time again."""
        self._failures = 0
        self._deadline = self._chance.monotonic() + self._retry.total_s

    def pause(self, error: Exception) -> float | None:
        """Seconds until the next attempt, or None if there is no time for one."""
        longest = min(self._retry.first_s * 2.0 ** min(self._failures, 30), self._retry.most_s)
        self._failures += 1
        pause = longest * (0.5 + 0.5 * self._chance.random())
        if isinstance(error, ServiceError) and error.retry_after is not None:
            pause = max(pause, error.retry_after)
        return pause if self._chance.monotonic() + pause < self._deadline else None


def passes_for_reads(error: Exception) -> bool:
    """Whether a read may succeed later. What is not complete was already waited for."""
    if isinstance(error, NotComplete):
        return False
    if isinstance(error, ServiceError):
        return error.status in _PASSING
    return isinstance(error, ConnectionFailed | AnswerBroken)


def passes_for_writes(error: Exception) -> bool:
    """Whether a write may succeed later. Source and sequence make every repeat safe."""
    if isinstance(error, ServiceError):
        return error.status in _PASSING or error.status >= 500
    return isinstance(error, ConnectionFailed)


def may_be_stored(error: Exception) -> bool:
    """Whether rows of a failed write may be stored all the same."""
    if isinstance(error, ServiceError):
        return error.status >= 500 or error.status == 408
    return isinstance(error, ConnectionFailed) and error.is_ambiguous


def retry_after_s(value: str | None, now: Callable[[], float] = time.time) -> float | None:
    """Seconds that a `Retry-After` header asks for: a number, or a date."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now())
    except (ValueError, TypeError):
        return None
