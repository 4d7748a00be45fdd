"""Bytes to records: one a line, or JSON objects one right after the other, as Firehose writes them.

Pure. A record that no parser takes comes out whole, and is counted where it is read.

Bounded: what is kept between two blocks is at most one record (`RECORD_BYTES_MAX`) and one block.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from worker.event_times import EARLIEST_MS, LATEST_MS
from worker.event_values import draft_of
from worker.event_wrappers import RECORD_BYTES_MAX
from worker.model import Record

JOINS_MAX: Final = 64
"""How often `}{` may stand inside one object (in a text) before the object counts as broken."""

NO_USABLE_TIME: Final = "no time of arrival, or one after now"
"""A kind of record: states none, or one that cannot be."""

_SEAM: Final = b"}{"
_whole = msgspec.json.Decoder(msgspec.Raw).decode

_PLAIN: Final = b'"arrival_timestamp":'
_PLAIN_CHARS: Final = len(_PLAIN)
_DIGITS: Final = 13
_ENDS: Final = (b",", b"}")
"""How nearly every event spells it: found three times as quickly as by pattern."""
_ARRIVAL: Final = re.compile(rb'"arrival_timestamp"\s*:\s*"?([0-9]{13})(?![0-9])')
_EVENT: Final = re.compile(rb'"event(?:_t|T)imestamp"\s*:\s*"?([0-9]{13})(?![0-9])')
_RecordDraft: Final = draft_of(Record)


class Splitter:
    """Takes blocks of bytes as they come, gives records as they become whole."""

    def __init__(self) -> None:
        self._rest = b""
        self._skipping = False
        """Inside a record that was too large, up to the end of its line."""

    def feed(self, block: bytes) -> list[bytes]:
        """The records that this block completes."""
        if self._skipping:
            _, newline, block = block.partition(b"\n")
            if not newline:
                return []
            self._skipping = False
        data = self._rest + block
        lines = data.split(b"\n")
        rest = lines.pop()
        if _SEAM in data:
            lines = [record for line in lines for record in _all_of(line)]
            whole, rest = _apart(rest)
            lines += whole
        if len(rest) > RECORD_BYTES_MAX:
            lines.append(rest)
            rest = b""
            self._skipping = True
        self._rest = rest
        return [line for line in lines if line.strip()]

    def end(self) -> list[bytes]:
        """What is left when nothing more comes."""
        rest, self._rest, self._skipping = self._rest, b"", False
        return [record for record in _all_of(rest) if record.strip()]


def _all_of(line: bytes) -> list[bytes]:
    if _SEAM not in line or _is_whole(line):
        return [line]
    whole, rest = _apart(line)
    return [*whole, rest] if rest else whole


def _apart(text: bytes) -> tuple[list[bytes], bytes]:
    """The objects that stand one after the other at the beginning of a text, and the rest of it.

    Only at `}{` can one end; where that stands within a text of an object, the piece before it is
    no whole object, and is tried again with the next one.
    """
    pieces = text.split(_SEAM)
    found: list[bytes] = []
    first = 0
    while first < len(pieces):
        for last in range(first, min(first + JOINS_MAX, len(pieces))):
            candidate = _joined(pieces, first, last)
            if _is_whole(candidate):
                break
        else:
            if len(pieces) - first < JOINS_MAX:
                break
            last = first
            candidate = _joined(pieces, first, last)
        found.append(candidate)
        first = last + 1
    return found, _joined(pieces, first, len(pieces) - 1) if first < len(pieces) else b""


def _joined(pieces: Sequence[bytes], first: int, last: int) -> bytes:
    before = b"{" if first else b""
    after = b"}" if last < len(pieces) - 1 else b""
    return before + _SEAM.join(pieces[first : last + 1]) + after


def _is_whole(text: bytes) -> bool:
    try:
        _whole(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    return True


def stated_ms(data: bytes, *, latest_ms: int) -> int | None:
    """When an event says that it arrived, else that it happened; None when it does not say, or says
    something that cannot be."""
    found = _ARRIVAL.search(data) or _EVENT.search(data)
    if found is None:
        return None
    at_ms = int(found[1])
    return at_ms if EARLIEST_MS <= at_ms <= latest_ms and at_ms < LATEST_MS else None


def stamped(
    lines: Iterable[Sequence[bytes]], *, latest_ms: int, odd: Counter[str] | None = None
) -> Iterator[list[Record]]:
    """Records with the time they arrived: `arrival_timestamp`, else `event_timestamp`, else that of
    the record before (0 while there is none).

    A time after `latest_ms` cannot be one of arrival and is passed over: one broken clock would
    move a whole backtest into the future. `odd` counts records that state no usable time.
    """
    odd = Counter() if odd is None else odd
    at_ms = 0
    last_ms = min(latest_ms, LATEST_MS - 1)
    for some in lines:
        records: list[Record] = []
        add = records.append
        for data in some:
            # What stated_ms does, for the commonest spelling.
            place = data.find(_PLAIN) + _PLAIN_CHARS
            stated = data[place : place + _DIGITS]
            if (
                place >= _PLAIN_CHARS
                and data[place + _DIGITS : place + _DIGITS + 1] in _ENDS
                and stated.isdigit()
                and EARLIEST_MS <= (stated_at_ms := int(stated)) <= last_ms
            ):
                at_ms = stated_at_ms
            else:
                found_ms = stated_ms(data, latest_ms=latest_ms)
                if found_ms is None:
                    odd[NO_USABLE_TIME] += 1
                at_ms = found_ms or at_ms
            # A draft costs a quarter of a frozen value (event_values.py).
            record: Any = _RecordDraft()
            record.data = data
            record.sequence_number = ""
            record.arrival_ms = at_ms
            record.partition_key = None
            record.__class__ = Record
            add(record)
        yield records
