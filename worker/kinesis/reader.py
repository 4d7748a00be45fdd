"""Reads one shard from its position to its end: one task, one answer at a time.

An answer is handed over and the next one is fetched only when it is durable. So a shard has at most
one answer in memory, its position never runs ahead of the state, and back-pressure needs no
machinery; a shard's own limit (2 MiB a second) makes fetching ahead worthless. Answers of all
shards together are bounded by the permits.

What may go wrong and what is done about it is the table in docs/kinesis.md. The reader never ends
quietly: it ends when SHARD_END is durable, when the shard has expired, or with an exception.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

import structlog

from worker.errors import StreamRecreated
from worker.kinesis import answers, lineage
from worker.kinesis.faults import Kind, KinesisFault, explanation
from worker.kinesis.observer import SourceObserver
from worker.kinesis.stream import Description, Stream
from worker.kinesis.troubles import Troubles
from worker.kinesis.wire import Answer
from worker.model import MINUTE_MS, Batch, Position
from worker.ports import Clock

ITERATOR_USE_MAX_SECONDS = 240.0
"""An iterator dies five minutes after it was handed out; it is given up a minute earlier."""
EAGER_EMPTY_ANSWERS_MAX = 10
"""Empty answers in a row that are followed up at full speed. A gap in a shard takes several; a
shard that says it is behind and has nothing must not use up the reads of all its consumers."""
IDLE_ANSWERS_MIN = 10
IDLE_POLLS = 2
"""A shard that is caught up and gave nothing so many times in a row is asked half as often: asking
is all that an idle stream costs."""
TRIM_SUSPECT_ANSWERS_MIN = 10
"""Empty answers in a row, all a whole retention behind, after which the position counts as
trimmed."""
TRIM_SUSPECT_MARGIN_MS = MINUTE_MS

log = structlog.get_logger()


class ShardState(StrEnum):
    """What a shard is at; label of the shard metric."""

    WAITING = "waiting"
    STARTING = "starting"
    BEHIND = "behind"
    CAUGHT_UP = "caught_up"
    ENDED = "ended"
    THROTTLED = "throttled"
    BROKEN = "broken"
    EXPIRED = "expired"
    REFUSED = "refused"
    FORBIDDEN = "forbidden"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast one shard is read. The bounds are the service's, shared by all its consumers."""

    poll_seconds: float
    """Between calls while caught up."""
    call_seconds: float
    """Between calls while behind."""
    bytes_per_second: int
    """Data bytes at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What the readers of one stream share."""

    stream: Stream
    description: Description
    clock: Clock
    observer: SourceObserver
    troubles: Troubles
    pace: Pace
    permits: asyncio.Semaphore
    """One for each answer that may be in memory, from the request to its commit."""
    hand_over: Callable[[Batch], Awaitable[None]]
    """Gives a batch to the consumer; returns when it is durable."""


class ShardReader:
    """The reading of one shard. `position` is durable, `read_through_ms` too."""

    def __init__(
        self, desk: Desk, position: Position, *, closed: bool, read_through_ms: int | None
    ) -> None:
        self._desk = desk
        self._clock = desk.clock
        self.shard_id = position.shard_id
        self.position = position
        self.read_through_ms = read_through_ms
        """Stream time up to which everything is durable; None: nothing was read yet."""
        self.closed = closed
        """Known to get no more records, so its children may already hold newer ones."""
        self.finished = False
        self.state = ShardState.STARTING
        self._iterator: str | None = None
        self._iterator_at = 0.0
        self._from_horizon = False
        """The position was trimmed: iterators begin at the trim horizon until a record is read."""
        self._faults = 0
        self._refusals = 0
        self._empties = 0
        self._suspect_answers = 0

    async def run(self) -> None:
        """Reads to the end. Raises StreamNotFound, StreamRecreated, AccessDenied."""
        while not self.finished:
            async with self._desk.permits:
                pause_seconds = await self._turn()
            if not self.finished:
                await self._clock.sleep(pause_seconds)

    @property
    def expired(self) -> bool:
        """No longer listed, and not read to its end."""
        return self.finished and not self.position.ended

    def settle(self, batch: Batch) -> None:
        """The batch is durable (Source.committed)."""
        self.position = batch.position
        self.read_through_ms = batch.read_through_ms or None
        if batch.position.ended:
            self.finished = True
            self.state = ShardState.ENDED

    # --- one answer ---------------------------------------------------------------------------

    async def _turn(self) -> float:
        """One call and all that follows from it; returns the pause before the next, in seconds."""
        started, started_ms = self._clock.monotonic(), self._clock.now_ms()
        try:
            answer = await self._desk.stream.records(await self._current_iterator())
            seconds = self._clock.monotonic() - started
            ended = await self._is_end(answer)
        except KinesisFault as fault:
            return await self._recover(fault)
        self._faults = self._refusals = 0
        self._desk.troubles.leave(self.shard_id)
        size_bytes = sum(len(record.data) for record in answer.records)
        self._desk.observer.answered(
            records=len(answer.records), size_bytes=size_bytes, seconds=seconds
        )
        self._iterator, self._iterator_at = answer.next_shard_iterator, started
        if not ended and self._looks_trimmed(answer):
            self._suspect_answers += 1
            if self._suspect_answers >= TRIM_SUSPECT_ANSWERS_MIN:
                self._take_horizon(started_ms)
            self.state = ShardState.BEHIND
            return self._desk.pace.poll_seconds
        self._suspect_answers = 0
        await self._deliver(answer, ended, started_ms)
        behind = answers.is_behind(answer)
        if not ended:
            self.state = ShardState.BEHIND if behind else ShardState.CAUGHT_UP
        spent_seconds = self._clock.monotonic() - started
        return max(0.0, self._spacing_seconds(answer, size_bytes, behind) - spent_seconds)

    async def _deliver(self, answer: Answer, ended: bool, started_ms: int) -> None:
        """Hands over what is new. An empty answer leaves nothing to make durable, so the time it
        covers counts at once."""
        stored = answers.unseen(answer.records, self.position.sequence_number)
        through_ms = answers.read_through_ms(
            answer,
            asked_at_ms=started_ms,
            closed=ended or self.closed,
            before_ms=self.read_through_ms,
        )
        if not stored and not ended:
            self.read_through_ms = through_ms
            return
        last = stored[-1].sequence_number if stored else self.position.sequence_number
        batch = Batch(
            stream=self._desk.description.identity,
            position=Position(shard_id=self.shard_id, sequence_number=last, ended=ended),
            records=answers.user_records(
                stored, asked_at_ms=started_ms, observer=self._desk.observer
            ),
            # A shard that ends without one record covers nothing; 0 is before everything.
            read_through_ms=through_ms or 0,
        )
        if stored:
            self._from_horizon = False
        await self._desk.hand_over(batch)

    def _spacing_seconds(self, answer: Answer, size_bytes: int, behind: bool) -> float:
        pace = self._desk.pace
        self._empties = 0 if answer.records else self._empties + 1
        if behind and self._empties <= EAGER_EMPTY_ANSWERS_MAX:
            pause_seconds = pace.call_seconds
        elif not behind and self._empties >= IDLE_ANSWERS_MIN:
            pause_seconds = IDLE_POLLS * pace.poll_seconds
        else:
            pause_seconds = pace.poll_seconds
        return max(pause_seconds, size_bytes / pace.bytes_per_second)

    # --- iterators ----------------------------------------------------------------------------

    async def _current_iterator(self) -> str:
        age_seconds = self._clock.monotonic() - self._iterator_at
        if self._iterator is not None and age_seconds > ITERATOR_USE_MAX_SECONDS:
            # The consumer was slow. The position knows all that the iterator knew.
            self._desk.observer.iterator_rebuilt(expired=False)
            self._iterator = None
        if self._iterator is None:
            origin = Position(shard_id=self.shard_id) if self._from_horizon else self.position
            asked_at = self._clock.monotonic()
            self._iterator = await self._desk.stream.iterator(origin)
            self._iterator_at = asked_at
        return self._iterator

    async def _is_end(self, answer: Answer) -> bool:
        """True when the shard has ended and more than a missing field says so.

        The service names the children when it gives no further iterator (KCL, DataRetrievalUtil);
        where it does not, ListShards must agree. Everything else raises UnconfirmedEnd: the answer
        is thrown away and asked for again with the same iterator.
        """
        named = any(
            self.shard_id in (child.parent_shards or ()) for child in answer.child_shards or ()
        )
        if answer.next_shard_iterator is not None and not answer.child_shards:
            return False
        if answer.next_shard_iterator is None and named:
            return True
        if answer.next_shard_iterator is None and not answer.child_shards:
            shards = await self._desk.stream.shards()
            if self.shard_id in lineage.closed(shards):
                return True
            if all(shard.shard_id != self.shard_id for shard in shards):
                # Expired right behind us. No SHARD_END on so little: listed again, it is read on.
                self.finished = self.closed = True
                return False
        raise KinesisFault(operation="GetRecords", code="UnconfirmedEnd")

    # --- troubles -----------------------------------------------------------------------------

    async def _recover(self, fault: KinesisFault) -> float:
        """What to do about a failed call; returns the pause before the next, in seconds."""
        self._faults += 1
        if fault.kind is Kind.EXPIRED:
            self._iterator = None
            self._desk.observer.iterator_rebuilt(expired=True)
            if self._faults == 1:
                return self._desk.pace.call_seconds
        if fault.kind is Kind.REFUSED:
            held, self._iterator = self._iterator, None
            self._refusals += 1
            if held is not None and self._refusals == 1:
                # Perhaps only the iterator is bad; the next call makes one from the position.
                return self._desk.pace.call_seconds
            try:
                if await self._explain_refusal():
                    return self._desk.pace.call_seconds
            except KinesisFault as another:
                fault = another
        if fault.code == "AccessDeniedException" and not self._desk.stream.served:
            stream = self._desk.stream
            problem = explanation(fault, stream=stream.name_or_arn, where=stream.where)
            assert problem is not None, "a denied call is for a person to mend"
            raise problem from fault
        self._desk.troubles.enter(self.shard_id, fault)
        self.state = ShardState(fault.kind)
        return fault.pause_seconds(self._faults)

    async def _explain_refusal(self) -> bool:
        """A position was refused: is the stream gone, another one, the shard expired, or only the
        position trimmed? True when that explains it, so that reading can go on or is over."""
        stream = self._desk.stream
        await confirm_identity(stream, self._desk.description)
        shards = await stream.shards()
        if all(shard.shard_id != self.shard_id for shard in shards):
            log.error("shard_expired_unread", shard=self.shard_id)
            self._desk.observer.possibly_lost(gap_ms=None)
            self.finished = True
            return True
        if self.position.sequence_number is None or self._from_horizon:
            return False
        self._take_horizon(self._clock.now_ms())
        return True

    def _looks_trimmed(self, answer: Answer) -> bool:
        """The other way a trimmed position shows: empty for ever, a whole retention behind."""
        retention_ms = self._desk.description.retention_ms
        return (
            not answer.records
            and self.position.sequence_number is not None
            and not self._from_horizon
            and (answer.millis_behind_latest or 0) >= retention_ms - TRIM_SUSPECT_MARGIN_MS
        )

    def _take_horizon(self, now_ms: int) -> None:
        """The position is older than what is kept: goes on at the oldest record there is."""
        horizon_ms = now_ms - self._desk.description.retention_ms
        known_ms = self.read_through_ms
        gap_ms = None if known_ms is None else max(0, horizon_ms - known_ms)
        log.error("records_possibly_lost", shard=self.shard_id, gap_ms=gap_ms, why="trimmed")
        self._desk.observer.possibly_lost(gap_ms=gap_ms)
        self._iterator = None
        self._from_horizon = True
        self._suspect_answers = 0


async def confirm_identity(stream: Stream, description: Description) -> None:
    """Raises StreamNotFound or StreamRecreated when the stream is no longer the one described.

    Raises KinesisFault when it could not be asked.
    """
    try:
        current = await stream.describe()
    except KinesisFault as fault:
        if not fault.not_found:
            raise
        problem = explanation(fault, stream=stream.name_or_arn, where=stream.where)
        assert problem is not None, "a missing stream is for a person to mend"
        raise problem from fault
    if current.identity != description.identity:
        raise StreamRecreated(
            f"The stream {description.identity.name!r} was deleted and created again while it was "
            "being read. What the old one still held is gone. Start again to read the new one "
            "from COMEBACK_START_POSITION."
        )
