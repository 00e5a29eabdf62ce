"""What both kinds of result tell."""

from __future__ import annotations

import pyarrow as pa

from ._windows import Told
from .errors import TourbillonError


class Described:
    """Headers and schema of an answer with rows."""

    def __init__(self, told: Told, schema: pa.Schema) -> None:
        self._told = told
        self._schema = schema
        self._is_taken = False

    def _take_whole(self) -> None:
        """Rows come once: a second reading would find too few, and say nothing."""
        if self._is_taken:
            raise TourbillonError("rows of this result were read already: ask again for them")
        self._is_taken = True

    @property
    def schema(self) -> pa.Schema:
        return self._schema

    @property
    def snapshot(self) -> str | None:
        """Given back as `snapshot`, it makes the same request give the same rows, on any node."""
        return self._told.snapshot

    @property
    def complete_through(self) -> int | None:
        """How far the stream was complete, as a stamp in ns."""
        return self._told.complete_through

    @property
    def is_final(self) -> bool:
        """Whether these rows can never change any more."""
        return self._told.is_final

    @property
    def next_cursor(self) -> str | None:
        """Where the next page begins, if `limit` cut the answer short."""
        return self._told.next_cursor

    @property
    def request_id(self) -> str | None:
        return self._told.request_id

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"<{name} is_final={self.is_final} complete_through={self.complete_through}>"
