"""The worker as a whole on doubles: its start, its end, and what may and may not end it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from math import inf
from pathlib import Path
from typing import Any

import pytest

from tests.core.timeline import day, rule, rule_set, stage
from tests.shell.bench_world import STREAM, endpoint, seen
from tests.shell.feed import FeedSource
from worker.app import Worker
from worker.errors import StateUnwritable, StreamRecreated
from worker.health import LOOP_SILENT_SECONDS_MAX, Health
from worker.metrics import Metrics
from worker.model import DAY_MS, Batch, Channel, Effect, Position, Record, ShardStatus
from worker.settings import Settings
from worker.store.sqlite import SqliteStore
from worker.testing import FakeClock, ScriptedSender, settle_tasks


class Shift:
    """A worker, what it is made of, and the order of what it did."""

    def __init__(self, store: SqliteStore, clock: FakeClock, settings: Settings) -> None:
        self.store = store
        self.clock = clock
        self.source = FeedSource()
        self.source.watermark = clock.now_ms
        self.sender = ScriptedSender()
        self.metrics = Metrics()
        self.health = Health(clock=clock)
        self.stop = asyncio.Event()
        self.did: list[str] = self.source.asked
        """Verbs of source and store, in order."""
        for verb in ("recover", "adopt", "apply", "settle", "prune"):
            self.spy(verb)
        self.worker = Worker(
            source=self.source,
            store=store,
            senders=dict.fromkeys(Channel, self.sender),
            rules=rule_set(rule(stages=(stage("push"),))),
            clock=clock,
            metrics=self.metrics,
            health=self.health,
            settings=settings,
        )

    def spy(self, verb: str) -> None:
        real: Callable[..., Awaitable[Any]] = getattr(self.store, verb)

        async def spied(*values: Any, **named: Any) -> Any:
            self.did.append(verb)
            return await real(*values, **named)

        setattr(self.store, verb, spied)

    async def owe_a_push(self, *users: str) -> None:
        """These users are due at once when the worker begins."""
        await self.store.positions(STREAM)
        for number, user in enumerate(users):
            activity, phone = seen(user, 0), endpoint(user, "GCM", f"token-{user}")
            position = Position(shard_id="s", sequence_number=str(number))
            now_ms = self.clock.now_ms()
            batch = Batch(stream=STREAM, position=position, records=(), read_through_ms=now_ms)
            effect = Effect(activities=(activity,), endpoints=(phone,))
            await self.store.apply(effect, batch, now_ms=now_ms)
        self.did.clear()

    def state(self) -> tuple[str | None, float | None]:
        """Why it is not ready, and the gauge that says so."""
        return self.health.not_ready_because, self.value("ready")

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"comeback_{name}", labels)


@asynccontextmanager
async def shift(**settings: Any) -> AsyncGenerator[Shift]:
    """One worker; at the end it must have left nothing running."""
    clock = FakeClock(now_ms=day(8))
    store = await SqliteStore.open(":memory:", wait=False, clock=clock)
    folder = Path(__file__).with_name("no rules here")
    one = Shift(store, clock, Settings(rules=folder, **settings))
    before = asyncio.all_tasks()
    try:
        yield one
        await settle_tasks()
        assert asyncio.all_tasks() <= before, "a worker leaves no task behind"
    finally:
        await store.close()


async def start(one: Shift) -> asyncio.Task[None]:
    """Begins; returns when the worker waits for something."""
    task = asyncio.create_task(one.worker.run(one.stop), name="worker")
    await settle_tasks()
    await settle_tasks()
    return task


async def test_what_a_predecessor_left_is_settled_before_the_rules_and_both_before_reading() -> (
    None
):
    async with shift() as one:
        task = await start(one)
        assert one.did == ["recover", "adopt", "open", "batches"]
        one.stop.set()
        await task


async def test_claims_of_a_killed_predecessor_are_counted() -> None:
    async with shift() as one:

        async def three(*, now_ms: int) -> int:
            return 3

        one.store.recover = three  # type: ignore[method-assign] # what a kill left
        task = await start(one)
        assert one.value("claims_recovered_total") == 3
        one.stop.set()
        await task


async def test_it_is_ready_once_it_works_and_until_it_drains() -> None:
    async with shift() as one:
        one.source.opening.clear()
        task = await start(one)
        assert one.state() == ("starting", 0)
        one.source.opening.set()
        await settle_tasks()
        assert one.state() == (None, 1)
        one.stop.set()
        await task
        assert one.state() == ("draining", 0)


async def test_stopping_while_the_stream_cannot_be_found_ends_at_once() -> None:
    async with shift() as one:
        one.source.opening.clear()
        task = await start(one)
        one.stop.set()
        await task
        assert one.did == ["recover", "adopt", "open"]
        assert one.health.not_ready_because == "starting"


async def test_an_error_at_the_start_is_the_workers_own() -> None:
    async with shift() as one:

        async def damaged(*, now_ms: int) -> int:
            raise StateUnwritable("the disk is full")

        one.store.recover = damaged  # type: ignore[method-assign] # a full disk
        with pytest.raises(StateUnwritable, match="the disk is full"):
            await one.worker.run(one.stop)
        assert one.did == []


async def test_a_stop_ends_reading_and_waits_for_the_batch_in_hand_and_for_calls() -> None:
    async with shift() as one:
        await one.owe_a_push("ann")
        one.sender.gate.clear()
        apply, disk = one.store.apply, asyncio.Event()

        async def slow(*values: Any, **named: Any) -> Any:
            await disk.wait()
            return await apply(*values, **named)

        one.store.apply = slow  # type: ignore[method-assign] # a commit that takes its time
        task = await start(one)
        await one.clock.advance(2)
        in_hand = one.source.give(read_through_ms=day(8))
        await one.clock.advance(2)
        assert len(one.sender.calls) == 1
        one.did.clear()
        one.stop.set()
        await settle_tasks()
        assert one.health.not_ready_because == "draining"
        assert one.did == ["stop"]
        one.clock.step_wall(day(12) - day(0))
        await one.clock.advance(60)
        disk.set()
        await settle_tasks()
        assert one.source.durable == [in_hand], "reading ends after the calls do, or by itself"
        assert not task.done(), "the call under way is waited for"
        one.sender.gate.set()
        await task
        assert one.did == ["stop", "apply", "settle"]
        assert one.value("sends_total", channel="push", state="sent") == 1
        assert len(one.sender.calls) == 1


async def test_no_claim_is_made_once_it_drains() -> None:
    async with shift() as one:
        one.source.watermark = lambda: None
        await one.owe_a_push("ann")
        one.sender.gate.clear()
        task = await start(one)
        await one.clock.advance(5)
        one.source.opening.clear()

        async def hanging() -> None:
            one.did.append("stop")
            await one.source.opening.wait()

        one.source.stop = hanging  # type: ignore[method-assign] # a source slow to stop
        one.stop.set()
        await settle_tasks()
        one.source.watermark = one.clock.now_ms
        await one.clock.advance(60)
        assert one.sender.calls == []
        one.source.opening.set()
        await task


async def test_a_long_drain_is_not_a_stuck_loop() -> None:
    async with shift() as one:
        await one.owe_a_push("ann")
        one.sender.gate.clear()
        task = await start(one)
        await one.clock.advance(2)
        one.stop.set()
        await one.clock.advance(2 * LOOP_SILENT_SECONDS_MAX)
        assert not task.done()
        assert one.health.stuck() == []
        one.sender.gate.set()
        await task


async def test_all_loops_prove_that_they_turn_for_as_long_as_they_do() -> None:
    async with shift() as one:
        task = await start(one)
        await one.clock.advance(10 * LOOP_SILENT_SECONDS_MAX)
        assert one.health.stuck() == []

        async def hung(**_: object) -> None:
            await asyncio.Event().wait()

        one.store.sweep = hung  # type: ignore[method-assign, assignment] # never comes back
        await one.clock.advance(2 * LOOP_SILENT_SECONDS_MAX)
        assert one.health.stuck() == ["outbox"]
        one.stop.set()
        await task


async def test_housekeeping_that_hangs_is_stuck() -> None:
    async with shift() as one:

        async def hung() -> int | None:
            await asyncio.Event().wait()
            return None

        one.store.next_due_ms = hung  # type: ignore[method-assign] # never comes back
        one.source.watermark = lambda: None
        task = await start(one)
        await one.clock.advance(2 * LOOP_SILENT_SECONDS_MAX)
        assert one.health.stuck() == ["housekeeping"]
        one.stop.set()
        await task


async def test_housekeeping_survives_a_store_that_cannot_answer_for_a_while() -> None:
    async with shift() as one:
        await one.owe_a_push("ann")
        one.source.watermark = lambda: None
        next_due_ms, tries = one.store.next_due_ms, 0

        async def busy() -> int | None:
            nonlocal tries
            tries += 1
            if tries < 4:
                raise StateUnwritable("the disk is full")
            return await next_due_ms()

        one.store.next_due_ms = busy  # type: ignore[method-assign] # a disk that fills and empties
        task = await start(one)
        await one.clock.advance(14)
        assert tries == 3
        assert one.value("oldest_due_seconds") == 0
        one.clock.step_wall(DAY_MS)
        await one.clock.advance(5)
        assert not task.done()
        late_seconds = one.value("oldest_due_seconds")
        assert late_seconds is not None
        assert late_seconds > 86_400, "due when it began, and now it is a day later"
        one.stop.set()
        await task


async def test_nobody_due_is_late_by_nothing() -> None:
    async with shift() as one:
        one.metrics.oldest_due.set(7)
        task = await start(one)
        await one.clock.advance(1)
        assert one.value("oldest_due_seconds") == 0
        one.stop.set()
        await task


async def test_the_state_forgets_about_once_a_minute() -> None:
    async with shift() as one:
        task = await start(one)
        await one.clock.advance(59)
        assert one.did.count("prune") == 0
        await one.clock.advance(541)
        assert 8 <= one.did.count("prune") <= 10
        one.stop.set()
        await task


async def test_a_reading_that_fails_ends_the_worker_with_that_error_after_a_drain() -> None:
    async with shift() as one:
        await one.owe_a_push("ann")
        one.sender.gate.clear()
        task = await start(one)
        await one.clock.advance(2)
        one.source.fail(StreamRecreated("made anew"))
        await settle_tasks()
        assert one.health.not_ready_because == "draining"
        assert not task.done()
        one.sender.gate.set()
        with pytest.raises(StreamRecreated, match="made anew"):
            await task
        assert one.did[-2:] == ["stop", "settle"]


async def test_a_sending_that_fails_ends_the_worker_with_that_error() -> None:
    async with shift() as one:

        async def broken(**_: object) -> None:
            raise RuntimeError("a bug")

        one.store.sweep = broken  # type: ignore[method-assign, assignment] # a bug
        with pytest.raises(RuntimeError, match="a bug"):
            await one.worker.run(one.stop)
        assert one.did[-1] == "stop"


async def test_a_scrape_is_told_how_far_the_stream_is_read() -> None:
    async with shift() as one:
        one.source.watermark = lambda: None
        one.worker.refresh()
        assert one.value("watermark_age_seconds") == inf
        one.source.watermark = lambda: one.clock.now_ms() - 2_500
        one.source.shard_list = (ShardStatus(shard_id="a", state="behind", lag_ms=2_500),)
        one.worker.refresh()
        assert one.value("watermark_age_seconds") == 2.5
        assert one.value("shard_lag_seconds", shard="a") == 2.5


async def test_events_are_read_in_the_formats_of_the_settings_also_after_a_reload(
    tmp_path: Path,
) -> None:
    formats = tmp_path / "shop.yaml"
    formats.write_text("formats: [{name: shop, type: {fixed: _session.start}, user_id: who}]")
    async with shift(events=f"pinpoint,{formats}") as one:
        task = await start(one)
        for number, user in enumerate(("u1", "u2")):
            data = json.dumps({"who": user}).encode()
            now_ms = one.clock.now_ms()
            record = Record(data=data, sequence_number=str(number), arrival_ms=now_ms)
            one.source.give(record, read_through_ms=now_ms)
            await settle_tasks()
            assert one.value("signals_total", kind="activity") == number + 1
            await one.worker._take_into_force(rule_set(rule(stages=(stage("email"),))))
        one.stop.set()
        await task
