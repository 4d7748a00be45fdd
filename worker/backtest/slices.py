"""Records to slices of stream time: what a fold takes at once. Pure.

Stream time never goes back. A record that arrived before one already read (files of several shards
are seldom in perfect order) is taken as if it had arrived right after it, and counted as late.

No slice reaches over a full quarter of an hour, so what is measured at its end does not depend on
how the records came in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from worker.model import MINUTE_MS, Record

SLICE_MS: Final = 15 * MINUTE_MS
SLICE_RECORDS_MAX: Final = 4_096
"""After so many a slice ends with what was read at once."""
LATE_MS: Final = MINUTE_MS
"""What arrived less than this before another record is in order for all that matters here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Records that arrived in one quarter of an hour, at least one, and the latest arrival among
    them and all before."""

    records: Sequence[Record]
    at_ms: int


class Slicer:
    """Cuts records into slices, and remembers what it met."""

    def __init__(self, *, cut_ms: int | None = None, until_ms: int | None = None) -> None:
        """`cut_ms`: no slice reaches over this instant. `until_ms`: reading ends there."""
        self._cut_ms = cut_ms
        self._until_ms = until_ms
        self.records = 0
        self.first_ms: int | None = None
        self.last_ms: int | None = None
        """First and last stream time."""
        self.untimed = 0
        """Records left out because no time was told so far, and there were too many of them."""
        self.timeless: Sequence[Record] = ()
        """What was read, when none of it told a time; no more than `SLICE_RECORDS_MAX`."""
        self.late = 0
        self.late_max_ms = 0

    def slices(self, batches: Iterable[Sequence[Record]]) -> Iterator[Slice]:
        """The slices, in order of time."""
        kept: list[Record] = []
        now_ms, end_ms = -1, 0
        for batch in batches:
            for record in batch:
                at_ms = record.arrival_ms
                if at_ms > now_ms:
                    if not at_ms:
                        self._wait_for_a_time(kept, record)
                        continue
                    if at_ms >= end_ms:
                        if now_ms < 0:
                            kept = [replace(early, arrival_ms=at_ms) for early in kept]
                        elif kept:
                            yield self._slice(kept, now_ms)
                            kept = []
                        if self._until_ms is not None and at_ms >= self._until_ms:
                            return
                        end_ms = self._end_ms(at_ms)
                    now_ms = at_ms
                elif at_ms < now_ms - LATE_MS:
                    self.late += 1
                    self.late_max_ms = max(self.late_max_ms, now_ms - at_ms)
                kept.append(record)
            if now_ms >= 0 and len(kept) >= SLICE_RECORDS_MAX:
                yield self._slice(kept, now_ms)
                kept = []
        self.timeless = kept if now_ms < 0 else ()
        if now_ms >= 0 and kept:
            yield self._slice(kept, now_ms)

    def _wait_for_a_time(self, kept: list[Record], record: Record) -> None:
        """Records that tell no time, before the first that does, count as if they came with it."""
        if len(kept) < SLICE_RECORDS_MAX:
            kept.append(record)
        else:
            self.untimed += 1

    def _slice(self, records: list[Record], at_ms: int) -> Slice:
        self.records += len(records)
        if self.first_ms is None:
            self.first_ms = records[0].arrival_ms
        self.last_ms = at_ms
        return Slice(records=tuple(records), at_ms=at_ms)

    def _end_ms(self, at_ms: int) -> int:
        ends = [(at_ms // SLICE_MS + 1) * SLICE_MS]
        ends += [end for end in (self._cut_ms, self._until_ms) if end is not None and end > at_ms]
        return min(ends)
