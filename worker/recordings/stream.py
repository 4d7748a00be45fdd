"""A Kinesis stream as a recording: from its oldest record up to now, in the order of arrival.

Only reads. Shards are read side by side and their records merged by arrival; a shard that runs
ahead waits, so memory holds `BYTES_AHEAD_MAX` and one answer of each shard at most.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from typing import Any, Final

from worker.kinesis.client import kinesis_client
from worker.kinesis.source import KinesisSource
from worker.model import Batch, Record, StreamMemory
from worker.ports import Clock, Source
from worker.recordings.framing import stated_ms

BYTES_AHEAD_MAX: Final = 256 * 1024 * 1024
"""Of records that wait for slower shards."""

SHARDS_MAX: Final = 10_000
"""Answers that may be held at once, one a shard."""

LOOK_SECONDS: Final = 0.2
"""How often to see whether an idle stream is read up to now."""


class StreamRecording:
    """A recording in a stream. Read once."""

    def __init__(
        self,
        stream: str,
        *,
        clock: Clock,
        client: Callable[[], AbstractAsyncContextManager[Any]] = kinesis_client,
    ) -> None:
        """`stream`: its name or its ARN."""
        self._stream = stream
        self._clock = clock
        self._client = client
        self.bytes_read = 0
        self.broken: Counter[str] = Counter()
        self.odd: Counter[str] = Counter()

    @property
    def bytes_total(self) -> int | None:
        """Nobody knows how much a stream holds."""
        return None

    def records(self) -> Iterator[Sequence[Record]]:
        """All records up to now. Raises StreamNotFound, AccessDenied, SettingsError."""
        with asyncio.Runner() as runner:
            batches = self._read()

            async def following() -> Sequence[Record] | None:
                return await anext(batches, None)

            try:
                while (records := runner.run(following())) is not None:
                    self.bytes_read += sum(len(record.data) for record in records)
                    yield [_as_stated(record) for record in records]
            finally:
                runner.run(batches.aclose())

    async def _read(self) -> AsyncGenerator[Sequence[Record]]:
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(self._client())
            source = KinesisSource(
                client,
                stream=self._stream,
                start="TRIM_HORIZON",
                clock=self._clock,
                answers_in_memory_max=SHARDS_MAX,
            )
            await source.open()
            async for records in merged(source, clock=self._clock):
                yield records


def _as_stated(record: Record) -> Record:
    """Events that were put into a stream again, long after, count at the time they tell."""
    at_ms = stated_ms(record.data, latest_ms=record.arrival_ms)
    return record if at_ms is None else replace(record, arrival_ms=at_ms)


async def merged(source: Source, *, clock: Clock) -> AsyncGenerator[Sequence[Record]]:
    """What a source gives until it is read up to the present of this call, merged by arrival."""
    end_ms = clock.now_ms()
    merge = _Merge(source)
    batches = source.batches(StreamMemory())
    coming = asyncio.ensure_future(anext(batches))
    try:
        while True:
            waking = asyncio.ensure_future(clock.sleep(LOOK_SECONDS))
            await asyncio.wait({coming, waking}, return_when=asyncio.FIRST_COMPLETED)
            waking.cancel()
            if coming.done():
                merge.take(coming.result())
                coming = asyncio.ensure_future(anext(batches))
            watermark_ms = source.watermark_ms()
            done = watermark_ms is not None and watermark_ms >= end_ms
            ready = merge.ready(watermark_ms, all_of_them=done)
            if ready:
                yield ready
            if done:
                return
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
        await source.stop()


class _Merge:
    """Records that wait for the shards that are behind."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._waiting: list[tuple[int, int, Record]] = []
        """Heap by arrival, then by order of reading."""
        self._number = 0
        self._bytes = 0
        self._read_through: dict[str, int] = {}
        self._held: list[Batch] = []
        """Read, and not told as durable, so that nothing more of these shards is read."""

    def take(self, batch: Batch) -> None:
        for record in batch.records:
            self._number += 1
            self._bytes += len(record.data)
            heapq.heappush(self._waiting, (record.arrival_ms, self._number, record))
        self._held.append(batch)
        self._let_go(self._source.watermark_ms())

    def ready(self, watermark_ms: int | None, *, all_of_them: bool) -> list[Record]:
        """The records that no shard can come before any more, in order."""
        ready = []
        while self._waiting and (
            all_of_them or (watermark_ms is not None and self._waiting[0][0] <= watermark_ms)
        ):
            record = heapq.heappop(self._waiting)[2]
            self._bytes -= len(record.data)
            ready.append(record)
        self._let_go(watermark_ms)
        return ready

    def _let_go(self, watermark_ms: int | None) -> None:
        """Shards go on while there is room; when there is none, those that are furthest behind."""
        held, self._held = self._held, []
        for batch in held:
            shard = batch.position.shard_id
            through_ms = self._read_through.get(shard)
            last = watermark_ms is None or through_ms is None or through_ms <= watermark_ms
            if last or self._bytes <= BYTES_AHEAD_MAX:
                self._source.committed(batch)
                self._read_through[shard] = batch.read_through_ms
            else:
                self._held.append(batch)
