"""Which endpoints look as the state knows them already, so that an event can only say when.

Most events show an endpoint exactly as it was shown before, of somebody who is on no ladder. Such
an event moves two times and changes nothing else. A *face* is an endpoint as an event shows it; the
store learns a face when it knows of one that this is so, and forgets it before it is not any more
(`store/touches.py` says when). `recency.fold` asks; what is forgotten between a fold and its being
applied makes the fold stale.

A bounded set of prints in buckets chosen by the client's id. It may forget at any time, which costs
time only; and it may take another face of a client for one it knows once in 2**48 such faces.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from mmap import mmap
from typing import Final, TypeAlias

BUCKET_SLOTS: Final = 8
BUCKETS_MIN: Final = 1 << 11
BUCKETS_MAX: Final = 1 << 21
"""Of 64 bytes each: at most 128 MiB, for some ten million endpoints."""

CROWDED: Final = 4
"""Prints in a bucket, on average, from which on there should be more buckets."""

SLOT_BYTES: Final = 8
PRINT_BITS: Final = 48
PRINT: Final = (1 << PRINT_BITS) - 1
TAG_FROM: Final = 40
TAG: Final = 0xFFFF

LOST_MAX: Final = 10_000
"""Clients forgotten since a fold began that are told apart; beyond it any may be among them."""


class StaleFaces(Exception):
    """An effect rests on faces that may not hold any more: its batch is to be folded anew, which
    asks by what the store knows now. Nothing was changed."""


Touch: TypeAlias = tuple[int, int]
"""What events of known faces say of one endpoint: when the latest of them arrived, for the endpoint
looked the same then; and when the latest of them says that somebody was here. Milliseconds; below
0: none says so."""


def print_of(client_id: str, app_id: str | None, endpoint: Hashable) -> int:
    """The print of what a client showed: 16 bits tell the client, 48 what it was. It holds for this
    process only, for the salt of its `hash` goes into it."""
    shown = hash((client_id, app_id, endpoint))
    return (hash(client_id) >> TAG_FROM & TAG) << PRINT_BITS | shown & PRINT


class Faces:
    """The faces known."""

    def __init__(self) -> None:
        self._learnt = 0
        self._lost: set[str] | None = None
        self._resize(BUCKETS_MIN)

    def __len__(self) -> int:
        """How many were learnt since the last clearing; some of them may be forgotten."""
        return self._learnt

    def knows(self, client_id: str, app_id: str | None, endpoint: Hashable) -> bool:
        """Is it known that the client looks so? Asked for every event."""
        client = hash(client_id)
        shown = hash((client_id, app_id, endpoint))
        face = (client >> TAG_FROM & TAG) << PRINT_BITS | shown & PRINT
        slots, first = self._slots, (client & self._mask) * BUCKET_SLOTS
        return (
            slots[first] == face
            or slots[first + 1] == face
            or slots[first + 2] == face
            or slots[first + 3] == face
            or slots[first + 4] == face
            or slots[first + 5] == face
            or slots[first + 6] == face
            or slots[first + 7] == face
        )

    def has(self, client_id: str, face: int) -> bool:
        """Is this print of the client known?"""
        first = (hash(client_id) & self._mask) * BUCKET_SLOTS
        return face in self._slots[first : first + BUCKET_SLOTS].tolist()

    @property
    def is_roomy(self) -> bool:
        """Is there room for more than one face of each client?"""
        return self._mask + 1 < BUCKETS_MAX

    def expect(self, clients: int) -> None:
        """Makes room for so many from the start."""
        buckets = self._mask + 1
        while buckets < BUCKETS_MAX and 2 * clients > CROWDED * buckets:
            buckets *= 2
        self._resize(buckets)

    def learn(self, client_id: str, face: int) -> None:
        """Takes a face in. In a full bucket it takes the place of another."""
        if self.has(client_id, face):
            return
        if self._learnt >= CROWDED * (self._mask + 1) and self.is_roomy:
            self._resize(4 * (self._mask + 1))
        slots, first = self._slots, (hash(client_id) & self._mask) * BUCKET_SLOTS
        free = (slot for slot in range(first, first + BUCKET_SLOTS) if slots[slot] == 0)
        slots[next(free, first + face % BUCKET_SLOTS)] = face
        self._learnt += 1

    def forget(self, client_id: str) -> None:
        """Forgets every face of a client."""
        slots, client = self._slots, hash(client_id)
        first, tag = (client & self._mask) * BUCKET_SLOTS, client >> TAG_FROM & TAG
        for slot in range(first, first + BUCKET_SLOTS):
            if slots[slot] >> PRINT_BITS == tag:
                slots[slot] = 0
        if self._lost is not None:
            self._lost.add(client_id)
            if len(self._lost) > LOST_MAX:
                self._lost = None

    def clear(self) -> None:
        """Forgets everything."""
        self._resize(self._mask + 1)
        self._lost = None

    def watch(self) -> None:
        """A fold begins."""
        self._lost = set()

    def lost(self, touches: Mapping[str, Touch]) -> bool:
        """May one of these have been forgotten since the last fold began?"""
        return self._lost is None or any(client_id in touches for client_id in self._lost)

    def _resize(self, buckets: int) -> None:
        """Begins anew with so many. Memory that was never written costs none."""
        self._mask = buckets - 1
        self._slots = memoryview(mmap(-1, buckets * BUCKET_SLOTS * SLOT_BYTES)).cast("Q")
        self._learnt = 0
