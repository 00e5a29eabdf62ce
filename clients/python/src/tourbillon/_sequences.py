"""Names and numbers by which the service knows a repeated batch.

A number is never used for two batches: the service would take the second for a repeat of the first
and store nothing. So a name that outlives the process needs a file that remembers its numbers.
"""

from __future__ import annotations

import json
import os
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol

from .errors import ConfigError, TourbillonError

#: Numbers that are reserved with one write of the file. Far below the 1024 that a source may have
#: in flight, so what a crash skips does not matter.
BLOCK = 64

_SOURCE = re.compile(r"[!-~]{1,128}")


class Sequences(Protocol):
    """A source and its numbers."""

    @property
    def source(self) -> str: ...

    def take(self) -> int:
        """A number that was never given before."""

    def close(self) -> None: ...


def checked_source(source: str) -> str:
    if _SOURCE.fullmatch(source) is None:
        raise ConfigError(f"source {source!r}: use 1 to 128 visible ASCII characters")
    return source


class GeneratedSequences:
    """A name that no other process has, so its numbers may begin at 0."""

    def __init__(self) -> None:
        self.source = f"py-{uuid.uuid4().hex}"
        self._next = 0
        self._lock = threading.Lock()

    def take(self) -> int:
        with self._lock:
            number, self._next = self._next, self._next + 1
            return number

    def close(self) -> None:
        """There is nothing to close."""


class Lender:
    """Sources for writes of many threads, one for each at a time.

    The service knows the last 1024 numbers of a source. With one source for all, a batch that is
    tried again for long could fall behind those of other threads. A source with batches that are
    pending is not lent again, so that they can be repeated later.
    """

    def __init__(self) -> None:
        self._free: list[GeneratedSequences] = []
        self._mutex = threading.Lock()

    @contextmanager
    def lent(self) -> Iterator[GeneratedSequences]:
        with self._mutex:
            numbers = self._free.pop() if self._free else GeneratedSequences()
        try:
            yield numbers
        except TourbillonError as error:
            if not error.pending:
                self._take_back(numbers)
            raise
        self._take_back(numbers)

    def _take_back(self, numbers: GeneratedSequences) -> None:
        with self._mutex:
            self._free.append(numbers)


class FileSequences:
    """Numbers of a named source that go on after a restart.

    The file holds the first number that is not reserved. Only one process may have it open.
    """

    def __init__(self, source: str, path: str | os.PathLike[str]) -> None:
        self.source = checked_source(source)
        self._path = Path(path)
        self._mutex = threading.Lock()
        self._held = _hold(self._path.with_name(self._path.name + ".lock"))
        try:
            self._next = self._reserved = self._load()
        except BaseException:
            self._held.close()
            raise

    def __enter__(self) -> FileSequences:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def take(self) -> int:
        with self._mutex:
            if self._held.closed:
                raise ConfigError(f"the numbers of source {self.source} are closed")
            if self._next == self._reserved:
                self._save(self._reserved + BLOCK)
                self._reserved += BLOCK
            number, self._next = self._next, self._next + 1
            return number

    def close(self) -> None:
        """Gives back what was reserved and not used."""
        with self._mutex:
            if not self._held.closed:
                if self._next < self._reserved:
                    self._save(self._next)
                self._held.close()

    def _load(self) -> int:
        try:
            text = self._path.read_text("utf-8")
        except FileNotFoundError:
            return 0
        try:
            kept = json.loads(text)
            source, number = kept["source"], kept["next"]
        except (ValueError, KeyError, TypeError):
            raise ConfigError(
                f"{self._path} does not hold the numbers of a source: name another file, and "
                "another source, as numbers that were used must not come again"
            ) from None
        if source != self.source or type(number) is not int or number < 0:
            raise ConfigError(f"{self._path} holds the numbers of source {source!r}")
        return int(number)

    def _save(self, number: int) -> None:
        text = json.dumps({"source": self.source, "next": number})
        new = self._path.with_name(self._path.name + ".new")
        with new.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
        _sync_folder(self._path.parent)


def _sync_folder(folder: Path) -> None:
    """Makes a rename last through a power cut, where folders can be opened."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _hold(path: Path) -> IO[bytes]:
    """A lock that the system gives back however the process ends."""
    file = path.open("ab")
    try:
        _lock(file)
    except OSError:
        file.close()
        raise ConfigError(
            f"{path} is locked: another writer has this source; give each writer its own"
        ) from None
    return file


if os.name == "nt":
    import msvcrt

    def _lock(file: IO[bytes]) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
else:
    import fcntl

    def _lock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
