"""The reading half of the real worker, from a canned Kinesis into a state file, for benchmarks."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from worker.clock import SystemClock
from worker.health import Health
from worker.ingest import Ingest
from worker.kinesis.client import kinesis_client
from worker.kinesis.source import KinesisSource
from worker.metrics import Metrics
from worker.model import Batch, ShardStatus, StreamIdentity, StreamMemory
from worker.ports import Source
from worker.rules.ruleset import ActivityPolicy
from worker.store.sqlite import SqliteStore

UNPACED = 1 << 40
"""Bytes a second and more than any shard gives: nothing is waited for."""

RUN_SECONDS_MAX = 150.0

After = Callable[[Batch], bool]
"""Told of each batch once it is durable; False ends the reading."""


class Watched:
    """A source whose batches are told to `after` when they are durable (ports.Source)."""

    def __init__(self, source: Source, after: After) -> None:
        self._source = source
        self._after = after

    async def open(self) -> StreamIdentity:
        """See ports.Source."""
        return await self._source.open()

    async def batches(self, memory: StreamMemory) -> AsyncIterator[Batch]:
        """See ports.Source."""
        async for batch in self._source.batches(memory):
            yield batch
            if not self._after(batch):
                return

    def committed(self, batch: Batch) -> None:
        """See ports.Source."""
        self._source.committed(batch)

    def watermark_ms(self) -> int | None:
        """See ports.Source."""
        return self._source.watermark_ms()

    def shards(self) -> Sequence[ShardStatus]:
        """See ports.Source."""
        return self._source.shards()

    async def stop(self) -> None:
        """See ports.Source."""
        await self._source.stop()


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqliteStore]:
    """The state, closed at the end."""
    store = await SqliteStore.open(str(path), wait=False, clock=SystemClock())
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def kinesis(
    environment: Mapping[str, str], metrics: Any = None, *, paced: bool = False
) -> AsyncIterator[KinesisSource]:
    """The real client and source; without `paced` a shard is read as fast as it gives."""
    pace = {} if paced else {"call_seconds": 0.0, "shard_bytes_per_second": UNPACED}
    async with AsyncExitStack() as stack:
        with patch.dict(os.environ, environment):
            client = await stack.enter_async_context(kinesis_client())
        yield KinesisSource(
            client,
            stream="bench",
            start="TRIM_HORIZON",
            clock=SystemClock(),
            observer=metrics.source if metrics else None,
            **pace,  # type: ignore[arg-type]
        )


async def ingest(
    store: SqliteStore, environment: Mapping[str, str], after: After, *, metrics: Any = None
) -> None:
    """Reads as `worker.app` does, from the stored positions until `after` ends it."""
    clock, metrics = SystemClock(), metrics or Metrics()
    async with kinesis(environment, metrics) as source, asyncio.timeout(RUN_SECONDS_MAX):
        parts = Ingest(
            source=Watched(source, after),
            store=store,
            clock=clock,
            metrics=metrics,
            health=Health(clock=clock),
            policy=ActivityPolicy,
            changed=asyncio.Event(),
        )
        try:
            await parts.run(await source.open())
        finally:
            await source.stop()
