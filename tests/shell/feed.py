"""A source that gives what a test puts in (ports.Source), and remembers what was asked of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from tests.shell.bench_world import STREAM
from worker.model import Batch, Position, Record, ShardStatus, StreamIdentity, StreamMemory

SHARD = "shard"


class FeedSource:
    """Opens at once unless `opening` is cleared; gives batches until `stop`."""

    def __init__(self) -> None:
        self.opening = asyncio.Event()
        self.opening.set()
        self.watermark: Callable[[], int | None] = lambda: None
        self.shard_list: tuple[ShardStatus, ...] = ()
        self.failure: Exception | None = None
        """Raised by `batches` when it comes to the end of what was given."""
        self.durable: list[Batch] = []
        """What `committed` was called with."""
        self.asked: list[str] = []
        self._queue: asyncio.Queue[Batch | None] = asyncio.Queue()
        self._number = 0

    def give(self, *records: Record, read_through_ms: int) -> Batch:
        """One more batch to read."""
        self._number += 1
        batch = Batch(
            stream=STREAM,
            position=Position(shard_id=SHARD, sequence_number=str(self._number)),
            records=records,
            read_through_ms=read_through_ms,
        )
        self._queue.put_nowait(batch)
        return batch

    def fail(self, error: Exception) -> None:
        """After what was given, reading fails."""
        self.failure = error
        self._queue.put_nowait(None)

    async def open(self) -> StreamIdentity:
        """See ports.Source."""
        self.asked.append("open")
        await self.opening.wait()
        return STREAM

    async def batches(self, memory: StreamMemory) -> AsyncIterator[Batch]:
        """See ports.Source."""
        self.asked.append("batches")
        while (batch := await self._queue.get()) is not None:
            yield batch
        if self.failure is not None:
            raise self.failure

    def committed(self, batch: Batch) -> None:
        """See ports.Source."""
        self.durable.append(batch)

    def watermark_ms(self) -> int | None:
        """See ports.Source."""
        return self.watermark()

    def shards(self) -> Sequence[ShardStatus]:
        """See ports.Source."""
        return self.shard_list

    async def stop(self) -> None:
        """See ports.Source."""
        self.asked.append("stop")
        self._queue.put_nowait(None)
