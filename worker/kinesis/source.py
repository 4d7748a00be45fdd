"""The Source port on Kinesis: finds the shards, runs a reader for each, hands out their batches.

Three parts: readers (one task a shard, `reader.py`), the lister (one task: which shards there are,
and whether the stream is still the same one), and the queue between them and `batches`. A task that
fails ends `batches` with its exception; none can stop unnoticed.

The order is kept by durability: a shard's next answer is fetched when its last one was committed,
and its children are opened when its SHARD_END was.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, Literal, TypeAlias, TypeVar

import structlog

from worker.kinesis import lineage
from worker.kinesis.faults import KinesisFault, explanation
from worker.kinesis.lineage import Shard
from worker.kinesis.observer import SilentObserver, SourceObserver
from worker.kinesis.reader import Desk, Pace, ShardReader, ShardState, confirm_identity
from worker.kinesis.stream import Description, Stream
from worker.kinesis.troubles import Troubles
from worker.model import Batch, Position, ShardStatus, StreamIdentity, StreamMemory
from worker.ports import Clock

LISTING_SECONDS = 30.0
"""Between looks at the list of shards, when no shard ended."""
ANSWERS_IN_MEMORY_MAX = 8
"""Answers of all shards together, requested or not yet durable; each is at most 10 MiB."""
POLL_SECONDS = 1.0
CALL_SECONDS = 0.2
"""A shard answers five GetRecords a second, to all its consumers together."""
SHARD_BYTES_PER_SECOND = 2 * 1024 * 1024
"""What a shard gives, to all its consumers together; more is throttled for seconds."""

Start: TypeAlias = Literal["LATEST", "TRIM_HORIZON"] | int
"""Where the very first start of a stream begins; an int is milliseconds since the epoch."""

T = TypeVar("T")
log = structlog.get_logger()


class KinesisSource:
    """Reads one stream (ports.Source).

    The consumer may hold `answers_in_memory_max` uncommitted batches at most before it asks for
    another one: no more are fetched.
    """

    def __init__(
        self,
        client: Any,
        *,
        stream: str,
        start: Start,
        clock: Clock,
        observer: SourceObserver | None = None,
        poll_seconds: float = POLL_SECONDS,
        call_seconds: float = CALL_SECONDS,
        shard_bytes_per_second: int = SHARD_BYTES_PER_SECOND,
        answers_in_memory_max: int = ANSWERS_IN_MEMORY_MAX,
    ) -> None:
        self._client = client
        self._observer = observer or SilentObserver()
        self._stream = Stream(client, stream, self._observer)
        self._troubles = Troubles(stream)
        self._start = start
        self._clock = clock
        self._pace = Pace(
            poll_seconds=poll_seconds,
            call_seconds=call_seconds,
            bytes_per_second=shard_bytes_per_second,
        )
        self._permits = asyncio.Semaphore(answers_in_memory_max)
        self._description: Description | None = None
        self._positions: dict[str, Position] = {}
        """Durable, by shard id."""
        self._readers: dict[str, ShardReader] = {}
        """By shard id. A shard that ended or expired stays until a listing showed its children: it
        holds the watermark for them."""
        self._waiting: tuple[str, ...] = ()
        self._handed: dict[str, tuple[Batch, asyncio.Future[None]]] = {}
        """By shard id: the one batch of each shard that is not durable yet."""
        # Bounded by what fills it: one batch for each shard, one exception for each task.
        self._queue: asyncio.Queue[Batch | Exception | None] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listing_due = asyncio.Event()
        self._stopped = False

    # --- the port -----------------------------------------------------------------------------

    async def open(self) -> StreamIdentity:
        """Finds the stream, waiting out what passes. Raises StreamNotFound, AccessDenied."""
        self._description = await self._answer(self._stream.describe)
        await self._stream.fast_path.install(self._client)
        return self._description.identity

    async def batches(self, memory: StreamMemory) -> AsyncIterator[Batch]:
        """Reads from the stored positions until `stop`.

        Raises StreamNotFound, StreamRecreated, AccessDenied, and whatever a reader dies of.
        """
        assert self._description is not None, "open() comes first"
        assert not self._tasks, "a source is read once"
        self._positions = {position.shard_id: position for position in memory.positions}
        if memory.recreated:
            # Its beginning is the end of the stream that was read before.
            self._start = "TRIM_HORIZON"
        self._supervise(self._list_shards(self._description), "kinesis shard list")
        try:
            while not self._stopped:
                item = await self._queue.get()
                if isinstance(item, Exception):
                    raise item
                if item is not None and not self._stopped:
                    yield item
        finally:
            await self._end_tasks()

    def committed(self, batch: Batch) -> None:
        """The batch and its position are durable (ports.Source)."""
        shard_id = batch.position.shard_id
        handed, durable = self._handed.pop(shard_id)
        assert handed is batch, "a shard's batches are committed as they were handed out"
        self._positions[shard_id] = batch.position
        reader = self._readers.get(shard_id)
        if reader is not None:
            reader.settle(batch)
        if not durable.done():
            durable.set_result(None)

    def watermark_ms(self) -> int | None:
        """The earliest `read_through_ms` of all shards being read. Shards that wait for a parent
        hold only newer records; None until every shard that can be read has been."""
        return _earliest(reader.read_through_ms for reader in self._readers.values())

    def shards(self) -> Sequence[ShardStatus]:
        """The shards being read or waiting to be, by id."""
        now_ms = self._clock.now_ms()
        statuses = [
            ShardStatus(
                shard_id=reader.shard_id,
                state=reader.state,
                lag_ms=None
                if reader.read_through_ms is None
                else max(0, now_ms - reader.read_through_ms),
            )
            for reader in self._readers.values()
            if not reader.finished
        ]
        statuses += [
            ShardStatus(shard_id=shard_id, state=ShardState.WAITING, lag_ms=None)
            for shard_id in self._waiting
        ]
        return sorted(statuses, key=lambda status: status.shard_id)

    async def stop(self) -> None:
        """Ends `batches` after the batch in hand. What was fetched and not handed out is read
        again at the next start."""
        self._stopped = True
        self._queue.put_nowait(None)
        await self._end_tasks()

    @property
    def retention_ms(self) -> int | None:
        """How long the stream keeps records: a lag that comes near it is about to lose some."""
        return self._description.retention_ms if self._description else None

    # --- shards -------------------------------------------------------------------------------

    async def _list_shards(self, description: Description) -> None:
        """The lister: looks at the shards at the start, when one ends, and every so often."""
        desk = Desk(
            stream=self._stream,
            description=description,
            clock=self._clock,
            observer=self._observer,
            troubles=self._troubles,
            pace=self._pace,
            permits=self._permits,
            hand_over=self._hand_over,
        )
        shards = await self._answer(self._stream.shards)
        await self._remember_start(description, shards)
        for shard_id in lineage.plan(shards, self._positions).expired:
            log.error("shard_expired_unread", shard=shard_id)
            self._observer.possibly_lost(gap_ms=None)
        while True:
            self._follow(desk, shards)
            await self._clock.sleep(LISTING_SECONDS, wake=self._listing_due)
            self._listing_due.clear()
            shards = await self._answer(lambda: self._relist(description), give_up=False)

    async def _relist(self, description: Description) -> tuple[Shard, ...]:
        await confirm_identity(self._stream, description)
        return await self._stream.shards()

    async def _remember_start(self, description: Description, shards: Sequence[Shard]) -> None:
        """Makes the starting points durable before the first read (lineage.first_positions)."""
        configured_ms = self._clock.now_ms() if self._start == "LATEST" else self._start
        starts = lineage.first_positions(
            shards,
            self._positions,
            start_at_ms=configured_ms if isinstance(configured_ms, int) else None,
        )
        await asyncio.gather(
            *(
                self._hand_over(
                    Batch(
                        stream=description.identity,
                        position=start,
                        records=(),
                        read_through_ms=start.start_at_ms or 0,
                    )
                )
                for start in starts
            )
        )

    def _follow(self, desk: Desk, shards: Sequence[Shard]) -> None:
        """Opens the shards that may be read now, and lets go of those that are done."""
        closed = lineage.closed(shards)
        plan = lineage.plan(shards, self._positions)
        parents = {shard.shard_id: shard.parent_ids for shard in shards}
        for shard_id in [r.shard_id for r in self._readers.values() if r.expired]:
            if shard_id in parents:
                del self._readers[shard_id]  # listed again after all: it is read on
        for reader in self._readers.values():
            reader.closed |= reader.shard_id in closed
        for position in plan.readable:
            if position.shard_id in self._readers:
                continue
            reader = ShardReader(
                desk,
                position,
                closed=position.shard_id in closed,
                read_through_ms=self._through_parents_ms(parents[position.shard_id]),
            )
            self._readers[position.shard_id] = reader
            self._supervise(self._read(reader), f"kinesis {position.shard_id}")
        self._waiting = plan.waiting
        children = lineage.children(shards)
        for shard_id in [reader.shard_id for reader in self._readers.values() if reader.finished]:
            if shard_id not in parents or any(
                child in self._readers for child in children.get(shard_id, ())
            ):
                del self._readers[shard_id]

    def _through_parents_ms(self, parent_ids: Sequence[str]) -> int | None:
        """A child holds nothing older than what its parents were read through."""
        return _earliest(
            self._readers[parent].read_through_ms
            for parent in parent_ids
            if parent in self._readers
        )

    async def _read(self, reader: ShardReader) -> None:
        await reader.run()
        self._listing_due.set()

    async def _hand_over(self, batch: Batch) -> None:
        durable = asyncio.get_running_loop().create_future()
        self._handed[batch.position.shard_id] = (batch, durable)
        self._queue.put_nowait(batch)
        await durable

    # --- calls and tasks ----------------------------------------------------------------------

    async def _answer(self, call: Callable[[], Awaitable[T]], *, give_up: bool = True) -> T:
        """Calls until there is an answer. With `give_up` raises what only a person can mend;
        without, only a stream that is gone ends it, for permissions may be given back."""
        attempt = 0
        while True:
            try:
                answer = await call()
            except KinesisFault as fault:
                problem = explanation(
                    fault, stream=self._stream.name_or_arn, where=self._stream.where
                )
                if problem is not None and (give_up or fault.not_found):
                    raise problem from fault
                attempt += 1
                self._troubles.enter("shard list", fault)
                await self._clock.sleep(fault.pause_seconds(attempt))
            else:
                self._troubles.leave("shard list")
                return answer

    def _supervise(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._reap)

    def _reap(self, task: asyncio.Task[None]) -> None:
        """A task ended: what it died of comes out of `batches`."""
        self._tasks.discard(task)
        if task.cancelled():
            if not self._stopped:
                self._queue.put_nowait(RuntimeError(f"task {task.get_name()!r} was cancelled"))
            return
        error = task.exception()
        if isinstance(error, Exception):
            self._queue.put_nowait(error)

    async def _end_tasks(self) -> None:
        self._stopped = True
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _earliest(times_ms: Iterable[int | None]) -> int | None:
    """The least of them; None when one is unknown, or there is none."""
    known: list[int] = []
    for at_ms in times_ms:
        if at_ms is None:
            return None
        known.append(at_ms)
    return min(known, default=None)
