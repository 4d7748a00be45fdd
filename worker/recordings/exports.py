"""An export of all endpoints, as Pinpoint wrote it: gzip or not, one endpoint a line. Pure.

Each line is told as an event that says nothing but "this endpoint is so", and nobody was active by
it. Source of the form: Pinpoint developer guide, "Exporting endpoints".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from worker.model import Record

_BEFORE: Final = b'{"event_type":"_test.event_stream","endpoint":'
_AFTER: Final = b"}"
"""The stream's own test event: no rule can make it an activity."""


def as_events(lines: Iterable[Sequence[Record]], *, at_ms: int) -> Iterator[list[Record]]:
    """The endpoints, as events that arrived at `at_ms`: what the recording tells is newer."""
    for some in lines:
        yield [
            Record(data=_BEFORE + line.data + _AFTER, sequence_number="", arrival_ms=at_ms)
            for line in some
        ]
