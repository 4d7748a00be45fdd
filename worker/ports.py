"""The four edges of the program: Clock, Source, Store, Sender. Adapters fill these shapes.

The journal is no fifth: it must commit with the change it tells of, so it is written by the store.

Adapters import this module and `model`, never each other. The doubles in `testing.py` and the real
adapters pass the same contract suites (tests/contract).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Hashable, Mapping, Sequence
from typing import Protocol, TypeAlias

from worker.faces import Faces
from worker.model import (
    Adoption,
    Applied,
    Batch,
    Channel,
    Delivery,
    Effect,
    Look,
    Outcome,
    Reason,
    RetiredRule,
    Settlement,
    ShardStatus,
    Silence,
    Spend,
    StreamIdentity,
    StreamMemory,
    Swept,
    UserView,
)

Decide: TypeAlias = Callable[[UserView], Look]
"""The ladder, bound to a rule set and an instant. Pure: a store calls it in its transaction."""

Admits: TypeAlias = Callable[[Sequence[Delivery]], bool]
"""May these deliveries of one user be claimed now, because calls are free to carry them at once?"""


class Clock(Protocol):
    """Wall time for facts, monotonic time for waiting. The only source of either."""

    def now_ms(self) -> int:
        """Wall clock, milliseconds since the epoch, UTC."""

    def monotonic(self) -> float:
        """Seconds that never go back."""

    async def sleep(self, seconds: float, wake: asyncio.Event | None = None) -> bool:
        """Waits `seconds` or until `wake` is set; True when woken early."""


class Source(Protocol):
    """Ordered batches per shard, parents before children (design §6)."""

    async def open(self) -> StreamIdentity:
        """Finds the stream. Raises StreamNotFound, AccessDenied."""

    def batches(self, memory: StreamMemory) -> AsyncIterator[Batch]:
        """Reads from the stored positions until `stop`. A batch may hold no records and still
        carry a position (SHARD_END, a start time) or time (`read_through_ms`)."""

    def committed(self, batch: Batch) -> None:
        """The batch and its position are durable: children of an ended shard may now be read, and
        the watermark may move."""

    def watermark_ms(self) -> int | None:
        """Stream time up to which every shard has been read and made durable; None: not known."""

    def shards(self) -> Sequence[ShardStatus]:
        """The shards being read or waiting to be, for metrics and health."""

    async def stop(self) -> None:
        """Ends `batches` after the batch in hand."""


class Store(Protocol):
    """The durable state, in domain verbs. Each verb is one transaction: all of it or nothing."""

    @property
    def faces(self) -> Faces:
        """The endpoints that look as the state knows them (worker/faces.py), to fold the next batch
        by. The same object for as long as the store is open."""

    async def positions(self, stream: StreamIdentity) -> StreamMemory:
        """What is stored for this incarnation of the stream. Positions of another one under the
        same name are forgotten."""

    async def apply(self, effect: Effect, batch: Batch, *, now_ms: int) -> Applied:
        """Folds one batch into the state together with its position (P2). Users who were active
        after their episode's silence began have it closed as `returned` here (P3).

        Raises StaleFaces when the effect has touches and a face it was folded by may not hold any
        more: the batch is to be folded anew, and applied at once."""

    async def adopt(self, adoption: Adoption) -> None:
        """Takes a rule set into force and keeps its files. When its revision is new, every user
        some rule may now want something of becomes due: those on a ladder and those silent for
        `rearm_after_ms` at once; the others when their silence is that long."""

    async def retired(self, rules: Mapping[str, str]) -> Sequence[RetiredRule]:
        """The ladders that open episodes began with, other than those of `rules`, which maps a rule
        to its revision. Those whose files are no longer kept are missing."""

    async def silences(self) -> tuple[Silence, ...]:
        """Those that have not ended. The same object for as long as nothing changed; cheap enough
        to ask before every sweep. `comeback silence` writes them, also while the worker runs."""

    async def wake(self, holds: Collection[Reason], *, now_ms: int) -> None:
        """Makes users due whose stage is held for one of these reasons."""

    async def spends(self, since_ms: int) -> Sequence[Spend]:
        """What claims have cost, in spans that end after `since_ms`."""

    async def sweep(self, *, now_ms: int, decide: Decide, admits: Admits, users_max: int) -> Swept:
        """Looks at users due at `now_ms`, oldest first, and writes what `decide` answers in the
        same transaction. Ends after `users_max` users, or before the first look whose deliveries
        `admits` refuses: nothing of that look is written. Claims are durable when it returns."""

    async def settle(self, settlements: Sequence[Settlement], *, now_ms: int) -> None:
        """Writes outcomes. Their users become due at `now_ms`."""

    async def recover(self, *, now_ms: int) -> int:
        """Claims found in CLAIMED at start become UNCERTAIN, or RETRY where the rule says so.
        Returns how many."""

    async def next_due_ms(self) -> int | None:
        """The earliest due time, None when nobody is due, ever."""

    async def prune(self, *, now_ms: int) -> int:
        """Forgets what no decision can need any more; returns rows removed. Bounded per call."""

    async def close(self) -> None:
        """Releases the file and its lock."""


class Sender(Protocol):
    """One provider for one or more channels. Expected answers are values, never exceptions."""

    channels: frozenset[Channel]
    batch_max: int
    """The most deliveries one call can carry."""

    def call_kind(self, delivery: Delivery) -> Hashable:
        """Deliveries of one channel with equal kinds may share a call. Called in a sweep: pure."""

    async def send(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        """Makes one call for 1 to `batch_max` deliveries of one channel and one kind, with
        distinct addresses, and answers one outcome for each, in order. Cancelling it leaves the
        outcomes unknown."""

    async def close(self) -> None:
        """Releases connections."""
