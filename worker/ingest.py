"""Source to state: one batch, one transaction, then the next.

Reads batches in the order the source gives them, folds each into its effect, and commits effect and
position together (P2). When the store cannot take a batch, it is tried again for as long as the
process lives; reading stops by itself because the source's queue is full (P12).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace

import structlog

from worker.errors import TryLater
from worker.faces import StaleFaces
from worker.health import Health
from worker.metrics import Metrics
from worker.model import Batch, Effect, StreamIdentity
from worker.ports import Clock, Source, Store
from worker.recency import fold
from worker.rules.ruleset import ActivityPolicy

RETRY_SECONDS = 1.0
"""Pause before a batch is offered again to a store that could not take it."""

PIECE_RECORDS = 500
"""Records folded and applied in one go; the loop stands still for so many at a time."""

log = structlog.get_logger()


def pieces_of(batch: Batch) -> Iterator[Batch]:
    """A batch in parts, each with the position up to which it goes. What came in one record of the
    stream stays together, for a position cannot stand within it."""
    records, begin = batch.records, 0
    while len(records) - begin > PIECE_RECORDS:
        end = begin + PIECE_RECORDS
        while (
            end < len(records) and records[end].sequence_number == records[end - 1].sequence_number
        ):
            end += 1
        if end == len(records):
            break
        sequence_number = records[end - 1].sequence_number
        position = replace(batch.position, sequence_number=sequence_number, ended=False)
        yield replace(batch, position=position, records=records[begin:end])
        begin = end
    yield replace(batch, records=records[begin:]) if begin else batch


class Ingest:
    """The reading half of a worker."""

    def __init__(
        self,
        *,
        source: Source,
        store: Store,
        clock: Clock,
        metrics: Metrics,
        health: Health,
        policy: Callable[[], ActivityPolicy],
        changed: asyncio.Event,
    ) -> None:
        self._source = source
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._health = health
        self._policy = policy
        self._changed = changed

    async def run(self, stream: StreamIdentity) -> None:
        """Reads until the source stops."""
        memory = await self._store.positions(stream)
        async for batch in self._source.batches(memory):
            for piece in pieces_of(batch):
                self._health.beat("ingest")
                effect = fold(piece, self._policy(), self._store.faces)
                # Each half of a piece is work for the whole loop; others may run in between.
                await self._clock.sleep(0)
                await self._commit(piece, effect)
                await self._clock.sleep(0)
            self._source.committed(batch)
            # An idle stream gives nothing for hours; how far it is read, the watermark tells.
            self._health.rest("ingest")

    async def _commit(self, batch: Batch, effect: Effect) -> None:
        failed = False
        # 0: the batch says nothing of time, such as one that only remembers where to begin.
        now_ms = min(self._clock.now_ms(), batch.read_through_ms or self._clock.now_ms())
        while True:
            try:
                with self._metrics.store_seconds.labels("apply").time():
                    applied = await self._store.apply(effect, batch, now_ms=now_ms)
            except StaleFaces:
                effect = fold(batch, self._policy(), self._store.faces)
                continue
            except TryLater as error:
                self._metrics.store_errors.labels("apply").inc()
                if not failed:
                    log.error("state_not_writable", error=str(error), shard=batch.position.shard_id)
                failed = True
                self._health.beat("ingest")
                await self._clock.sleep(RETRY_SECONDS)
                continue
            if failed:
                log.warning("state_writable_again", shard=batch.position.shard_id)
            size_bytes = sum(len(record.data) for record in batch.records)
            self._metrics.applied(len(batch.records), size_bytes, effect, applied)
            told = applied.episodes_returned or applied.receipts_matched
            if effect.endpoints or effect.stops or told:
                self._changed.set()
            return
