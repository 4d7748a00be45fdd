"""The reading half: order, retries, what it wakes, what it counts, when it counts as stuck."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core import samples
from tests.shell.bench_world import STREAM
from tests.shell.feed import FeedSource
from worker.errors import StateUnwritable, StreamRecreated
from worker.health import LOOP_SILENT_SECONDS_MAX, Health
from worker.ingest import PIECE_RECORDS, RETRY_SECONDS, Ingest, pieces_of
from worker.metrics import Metrics
from worker.model import Adoption, Applied, Batch, Effect, Position, Record
from worker.rules.ruleset import ActivityPolicy
from worker.store.sqlite import SqliteStore
from worker.testing import FakeClock, settle_tasks

NOW_MS = samples.KINESIS_MS + 60_000


class Reading:
    """An ingest loop and all around it; the store can be told to fail or to hang."""

    def __init__(self, store: SqliteStore, clock: FakeClock) -> None:
        self.store = store
        self.clock = clock
        self.source = FeedSource()
        self.metrics = Metrics()
        self.health = Health(clock=clock)
        self.changed = asyncio.Event()
        self.failures = 0
        """So many more tries the store refuses."""
        self.gate = asyncio.Event()
        self.gate.set()
        self.applied: list[tuple[Batch, int]] = []
        """Batch and `now_ms` of every try."""
        self._apply = store.apply
        store.apply = self._watched  # type: ignore[method-assign] # a spy with a brake
        self.ingest = Ingest(
            source=self.source,
            store=store,
            clock=clock,
            metrics=self.metrics,
            health=self.health,
            policy=ActivityPolicy,
            changed=self.changed,
        )

    async def _watched(self, effect: Effect, batch: Batch, *, now_ms: int) -> Applied:
        self.applied.append((batch, now_ms))
        await self.gate.wait()
        if self.failures:
            self.failures -= 1
            raise StateUnwritable("the disk is full")
        return await self._apply(effect, batch, now_ms=now_ms)

    def give(self, *events: object, read_through_ms: int = NOW_MS) -> Batch:
        """A batch with one record that holds these events."""
        records: tuple[Record, ...] = (samples.as_record(*events),) if events else ()
        return self.source.give(*records, read_through_ms=read_through_ms)

    def count(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"comeback_{name}", labels)


@asynccontextmanager
async def reading() -> AsyncGenerator[tuple[Reading, asyncio.Task[None]]]:
    clock = FakeClock(now_ms=NOW_MS)
    store = await SqliteStore.open(":memory:", wait=False, clock=clock)
    await store.adopt(Adoption(revision="s1", rearm_after_ms=1, sends_for_ms=1))
    one = Reading(store, clock)
    task = asyncio.create_task(one.ingest.run(STREAM))
    try:
        yield one, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await store.close()


async def test_batches_become_durable_in_order_and_are_counted() -> None:
    async with reading() as (one, _):
        first = one.give(samples.app_event(), samples.app_event(event_type="_session.stop"))
        second = one.give()
        await settle_tasks()
        assert one.source.durable == [first, second]
        assert one.count("records_total") == 1
        assert one.count("record_bytes_total") == len(first.records[0].data)
        assert one.count("signals_total", kind="activity") == 1, "folded: one a user"
        assert one.count("store_seconds_count", verb="apply") == 2
        assert (await one.store.positions(STREAM)).positions == (second.position,)


async def test_a_batch_the_store_cannot_take_is_offered_again_and_not_passed_over() -> None:
    async with reading() as (one, task):
        one.failures = 3
        first, second = one.give(samples.app_event()), one.give()
        await settle_tasks()
        assert one.source.durable == []
        await one.clock.advance(2 * RETRY_SECONDS)
        assert one.source.durable == [], "only what is durable is reported so"
        await one.clock.advance(RETRY_SECONDS)
        assert one.source.durable == [first, second]
        assert [batch for batch, _ in one.applied] == [first] * 4 + [second]
        assert one.count("store_errors_total", verb="apply") == 3
        assert one.count("records_total") == 1
        assert not task.done()


async def test_the_effect_is_dated_by_the_stream_never_by_the_future() -> None:
    async with reading() as (one, _):
        one.give(read_through_ms=NOW_MS - 5)
        one.give(read_through_ms=NOW_MS + 5)
        await settle_tasks()
        assert [now_ms for _, now_ms in one.applied] == [NOW_MS - 5, NOW_MS]


async def test_a_changed_endpoint_wakes_the_outbox() -> None:
    async with reading() as (one, _):
        one.give(samples.app_event())
        await settle_tasks()
        assert one.changed.is_set()


async def test_a_stop_wakes_the_outbox() -> None:
    async with reading() as (one, _):
        one.give(samples.mail_event("complaint"))
        await settle_tasks()
        assert one.count("signals_total", kind="stop") == 1
        assert one.count("signals_total", kind="address") == 0
        assert one.changed.is_set()


async def test_a_return_wakes_the_outbox_and_a_mere_visit_does_not() -> None:
    async with reading() as (one, _):
        visit = samples.app_event(endpoint={"User": {"UserId": "ann"}}, client={})
        one.give(visit)
        await settle_tasks()
        assert one.count("users_active_total") == 1
        assert one.count("signals_total", kind="address") == 0
        assert not one.changed.is_set()

        async def returned(effect: Effect, batch: Batch, *, now_ms: int) -> Applied:
            return Applied(episodes_returned=1)

        one.store.apply = returned  # type: ignore[method-assign] # somebody came back
        one.give(visit)
        await settle_tasks()
        assert one.changed.is_set()


async def test_activities_of_nobody_we_know_are_counted() -> None:
    async with reading() as (one, _):
        one.give(samples.mail_event("click"))
        await settle_tasks()
        assert one.count("unknown_activities_total") == 1
        assert one.count("users_active_total") == 0


async def test_an_error_of_the_source_ends_it() -> None:
    async with reading() as (one, task):
        last = one.give()
        one.source.fail(StreamRecreated("made anew"))
        with pytest.raises(StreamRecreated, match="made anew"):
            await task
        assert one.source.durable == [last]


async def test_a_bug_in_the_store_ends_it_and_nothing_is_reported_durable() -> None:
    async with reading() as (one, task):

        async def broken(effect: Effect, batch: Batch, *, now_ms: int) -> Applied:
            raise RuntimeError("a bug")

        one.store.apply = broken  # type: ignore[method-assign] # a bug
        one.give()
        with pytest.raises(RuntimeError, match="a bug"):
            await task
        assert one.source.durable == []


async def test_a_commit_that_hangs_is_stuck() -> None:
    async with reading() as (one, _):
        one.gate.clear()
        one.give()
        await one.clock.advance(LOOP_SILENT_SECONDS_MAX)
        assert one.health.stuck() == []
        await one.clock.advance(1)
        assert one.health.stuck() == ["ingest"]
        one.gate.set()
        await settle_tasks()
        assert one.health.stuck() == []


async def test_an_idle_stream_is_not_stuck() -> None:
    async with reading() as (one, _):
        one.give()
        await one.clock.advance(100 * LOOP_SILENT_SECONDS_MAX)
        assert one.health.stuck() == []


async def test_a_full_disk_is_not_stuck_for_a_restart_would_not_mend_it() -> None:
    async with reading() as (one, _):
        one.failures = 1_000_000
        one.give()
        await one.clock.advance(3 * LOOP_SILENT_SECONDS_MAX)
        assert one.source.durable == []
        assert one.health.stuck() == []


@given(
    runs=st.lists(st.integers(1, 900), max_size=12),
    size=st.sampled_from([1, 7, 400, PIECE_RECORDS]),
    ended=st.booleans(),
)
def test_pieces_are_a_batch_cut_where_a_position_can_stand(
    runs: list[int], size: int, ended: bool
) -> None:
    records = tuple(
        Record(data=b"", sequence_number=str(number), arrival_ms=1)
        for number, count in enumerate(runs)
        for _ in range(count)
    )
    last = str(len(runs))  # beyond the last record, as a page tells it that ends with others
    position = Position(shard_id="s", sequence_number=last, ended=ended)
    whole = Batch(stream=STREAM, position=position, records=records, read_through_ms=5)
    with patch("worker.ingest.PIECE_RECORDS", size):
        pieces = list(pieces_of(whole))
    assert tuple(itertools.chain(*(piece.records for piece in pieces))) == records
    assert pieces[-1].position == position
    for piece, following in itertools.pairwise(pieces):
        assert len(piece.records) < size + max(runs)
        assert piece.position == Position(
            shard_id="s", sequence_number=piece.records[-1].sequence_number
        )
        assert following.records[0].sequence_number != piece.position.sequence_number


async def test_a_large_batch_is_applied_in_pieces_and_committed_once() -> None:
    event = samples.as_bytes(samples.app_event())
    records = [
        Record(data=event, sequence_number=str(number), arrival_ms=samples.KINESIS_MS)
        for number in range(2 * PIECE_RECORDS + 1)
    ]
    async with reading() as (one, _):
        whole = one.source.give(*records, read_through_ms=NOW_MS)
        await settle_tasks()
        sizes = [len(batch.records) for batch, _ in one.applied]
        assert sizes == [PIECE_RECORDS, PIECE_RECORDS, 1]
        assert one.source.durable == [whole]
