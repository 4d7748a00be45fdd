"""A consumer for tests: keeps what it reads and the positions, as a store would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from tests.kinesis.fake_kinesis import FakeKinesis
from worker.kinesis.source import KinesisSource, Start
from worker.model import Batch, Position, StreamMemory
from worker.testing import FakeClock


class Noted:
    """An observer that writes everything down (kinesis.observer)."""

    def __init__(self) -> None:
        self.records = 0
        self.failures: list[tuple[str, str]] = []
        self.rebuilt: list[bool] = []
        self.gaps_ms: list[int | None] = []
        self.aggregates: list[int] = []
        self.fast: list[bool] = []

    def answered(self, *, records: int, size_bytes: int, seconds: float) -> None:
        """Adds up records."""
        self.records += records

    def failed(self, *, operation: str, code: str) -> None:
        """Keeps operation and code."""
        self.failures.append((operation, code))

    def iterator_rebuilt(self, *, expired: bool) -> None:
        """Keeps whether the service said so."""
        self.rebuilt.append(expired)

    def possibly_lost(self, *, gap_ms: int | None) -> None:
        """Keeps the gap."""
        self.gaps_ms.append(gap_ms)

    def deaggregated(self, *, user_records: int) -> None:
        """Keeps the number of inner records."""
        self.aggregates.append(user_records)

    def fast_decode(self, *, on: bool) -> None:
        """Keeps the switch."""
        self.fast.append(on)


class State:
    """What survives a restart: positions, and what was made durable with them."""

    def __init__(self) -> None:
        self.positions: dict[str, Position] = {}
        self.recreated = False
        self.read: list[tuple[str, str]] = []
        """Shard id and text of every record, in the order of commits."""

    @property
    def texts(self) -> list[str]:
        """The records without their shards."""
        return [text for _, text in self.read]


class Reading:
    """One run of a source over a state, stopped by leaving `reading`."""

    def __init__(self, source: KinesisSource, state: State, *, commits: bool) -> None:
        self.source = source
        self.state = state
        self.batches: list[Batch] = []
        """In the order they were handed out, also those that were never committed."""
        self.open_for_commits = asyncio.Event()
        if commits:
            self.open_for_commits.set()
        self._progress = asyncio.Event()
        self.task = asyncio.create_task(self._run())

    async def until(self, reached: Callable[[], bool], *, seconds_max: float = 30) -> None:
        """Waits in real time, from commit to commit; a reading that ends is not waited for."""
        async with asyncio.timeout(seconds_max):
            while not reached() and not self.task.done():
                self._progress.clear()
                progress = asyncio.ensure_future(self._progress.wait())
                await asyncio.wait({self.task, progress}, return_when=asyncio.FIRST_COMPLETED)
                progress.cancel()

    def crash(self) -> None:
        """Ends like a killed process: the batch in hand is never committed."""
        self.task.cancel()

    async def _run(self) -> None:
        await self.source.open()
        memory = StreamMemory(
            positions=tuple(self.state.positions.values()), recreated=self.state.recreated
        )
        async for batch in self.source.batches(memory):
            self.batches.append(batch)
            await self.open_for_commits.wait()
            self.state.positions[batch.position.shard_id] = batch.position
            self.state.read += [
                (batch.position.shard_id, record.data.decode()) for record in batch.records
            ]
            self.source.committed(batch)
            self._progress.set()


class Worker:
    """Starts readings of one fake service under one fake clock."""

    def __init__(self, client: Any, clock: FakeClock, service: FakeKinesis) -> None:
        self._client = client
        self.clock = clock
        self.service = service
        self.noted = Noted()
        service.attach(client)

    @asynccontextmanager
    async def reading(
        self, state: State, *, start: Start = "TRIM_HORIZON", commits: bool = True, **settings: Any
    ) -> AsyncGenerator[Reading]:
        """A reading under way; it is stopped at the end, and what it died of is raised."""
        settings = {"stream": "events", "observer": self.noted, **settings}
        source = KinesisSource(self._client, start=start, clock=self.clock, **settings)
        one = Reading(source, state, commits=commits)
        try:
            await self.clock.advance(0)
            yield one
        finally:
            await source.stop()
            one.open_for_commits.set()
            with suppress(asyncio.CancelledError):
                await one.task

    async def outcome(self, state: State, seconds: float, **settings: Any) -> BaseException | None:
        """What a reading dies of within so many seconds; None when it lives."""
        try:
            async with self.reading(state, **settings):
                await self.clock.advance(seconds)
        except Exception as error:  # noqa: BLE001 - the error is the result
            return error
        return None
