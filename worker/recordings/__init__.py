"""Events that were recorded: files, folders, standard input, a stream up to now; read in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, Protocol

from worker.model import Record

STREAM_PREFIX: Final = "kinesis:"
"""How the name of a recording begins that is a stream."""


class Recording(Protocol):
    """Recorded events. Read once."""

    bytes_read: int
    broken: Counter[str]
    """What could not be read that is no matter of one record, by kind."""
    odd: Counter[str]
    """Records that count all the same, by what is odd about them."""

    @property
    def bytes_total(self) -> int | None:
        """How many there are to read; None: nobody knows."""

    def records(self) -> Iterator[Sequence[Record]]:
        """All records in order, some at a time; `arrival_ms` is when they arrived, 0 when no record
        so far has told a time."""
