"""A backtest and a worker over the same events decide the same, however the events are cut.

The worker is the real one: `Ingest`, `Outbox`, the SQLite store; only provider, stream and clock
are doubles. Its clock jumps to every event and every due time, where it sweeps until all is calm.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from tests.rehearsal.backtest_world import START_MS, history, records_of, rules_of
from tests.shell.bench_world import STREAM
from tests.shell.feed import FeedSource
from worker.backtest.run import Run
from worker.backtest.slices import Slicer
from worker.health import Health
from worker.ingest import Ingest
from worker.metrics import Metrics
from worker.model import (
    DAY_MS,
    MINUTE_MS,
    Channel,
    Decision,
    Delivery,
    Outcome,
    Reason,
    Record,
    Swept,
)
from worker.outbox import Outbox
from worker.rehearsal.play import Observer, Play
from worker.rehearsal.swift import Swift
from worker.rules.ruleset import RuleSet
from worker.store.sqlite import SqliteStore
from worker.testing import FakeClock, ScriptedSender, settle_tasks

SWEEPS_PER_INSTANT_MAX = 500

Told = tuple[Any, ...]


def send_of(delivery: Delivery) -> Told:
    """All that says what was sent to whom, and when."""
    claim = delivery.claim
    return (
        claim.claimed_ms,
        claim.user_id,
        claim.rule,
        claim.stage,
        claim.channel,
        claim.variant,
        claim.address_hash,
        claim.cost_micros,
    )


def step_of(decision: Decision) -> Told | None:
    """A decision that changed something, or began a hold. (How often a stage is looked at while it
    waits for the pace is left to each.)"""
    if not decision.notable:
        return None
    return (
        decision.at_ms,
        decision.rule,
        decision.stage,
        decision.action,
        decision.reason,
        decision.episode_id,
    )


class Listener(Observer):
    """Keeps what a play does."""

    def __init__(self) -> None:
        self.sends: list[Told] = []
        self.steps: Counter[Told] = Counter()

    def decided(self, user_id: str, decision: Decision) -> None:
        if (step := step_of(decision)) is not None:
            self.steps[step] += 1

    def called(self, delivery: Delivery, outcome: Outcome, at_ms: int) -> None:
        assert at_ms == delivery.claim.claimed_ms
        self.sends.append(send_of(delivery))


def played(rules: RuleSet, batches: Sequence[Sequence[Record]], end_ms: int) -> Listener:
    """What a backtest does."""
    listener = Listener()
    play = Play(rules, observer=listener, start_ms=START_MS)
    for slice_ in Slicer().slices(batches):
        play.read(slice_.records)
    play.until(end_ms)
    return listener


class Live:
    """A worker whose clock jumps."""

    def __init__(self, store: SqliteStore, clock: FakeClock, rules: RuleSet) -> None:
        self.store = store
        self.clock = clock
        self.source = FeedSource()
        self.source.watermark = clock.now_ms
        self.sender = ScriptedSender()
        self.steps: Counter[Told] = Counter()
        self.sweeps = 0
        changed = asyncio.Event()
        self.changed = changed
        metrics, health = Metrics(), Health(clock=clock)
        sweep = store.sweep

        async def watched(**values: Any) -> Swept:
            swept = await sweep(**values)
            self.sweeps += 1
            self.steps.update(s for d in swept.decisions if (s := step_of(d)) is not None)
            return swept

        store.sweep = watched  # type: ignore[method-assign] # a spy
        self.ingest = Ingest(
            source=self.source,
            store=store,
            clock=clock,
            metrics=metrics,
            health=health,
            policy=lambda: rules.activity,
            changed=changed,
        )
        self.outbox = Outbox(
            source=self.source,
            store=store,
            senders=dict.fromkeys(Channel, self.sender),
            rules=lambda: rules,
            clock=clock,
            metrics=metrics,
            health=health,
            changed=changed,
            sweep_interval_ms=1_000,
            max_staleness_ms=300_000,
            calls_in_flight_max=256,
        )

    async def live_through(self, records: Sequence[Record], end_ms: int) -> None:
        """Every event at its arrival, every due user at the due time."""
        for at_ms, together in groupby(records, key=lambda record: record.arrival_ms):
            await self.rest_until(at_ms - 1)
            self.jump_to(at_ms)
            batch = self.source.give(*together, read_through_ms=at_ms)
            while batch not in self.source.durable[-1:]:
                await settle_tasks()
        await self.rest_until(end_ms)

    async def rest_until(self, end_ms: int) -> None:
        """Sweeps at every due time up to then."""
        while (due_ms := await self.store.next_due_ms()) is not None and due_ms <= end_ms:
            self.jump_to(due_ms)
            await self.sweep()

    async def sweep(self) -> None:
        """At this instant, until nobody is due any more."""
        now_ms = self.clock.now_ms()
        for _ in range(SWEEPS_PER_INSTANT_MAX):
            self.changed.set()
            await settle_tasks()
            due_ms = await self.store.next_due_ms()
            if due_ms is None or due_ms > now_ms:
                return
        raise AssertionError("the worker does not come to rest")

    def jump_to(self, at_ms: int) -> None:
        if at_ms > self.clock.now_ms():
            self.clock.step_wall(at_ms - self.clock.now_ms())


async def lived(rules: RuleSet, records: Sequence[Record], end_ms: int) -> tuple[list[Told], Live]:
    """What a worker does."""
    clock = FakeClock(now_ms=START_MS)
    store = await SqliteStore.open(":memory:", wait=False, clock=clock)
    await store.positions(STREAM)
    await store.adopt(rules.adoption)
    live = Live(store, clock, rules)
    loops = [
        asyncio.create_task(live.ingest.run(STREAM)),
        asyncio.create_task(live.outbox.run()),
    ]
    try:
        await settle_tasks()
        await live.live_through(records, end_ms)
        assert all(not loop.done() for loop in loops)
    finally:
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        await store.close()
    return [send_of(delivery) for call in live.sender.calls for delivery in call], live


@pytest.mark.parametrize("seed", range(4))
async def test_a_backtest_and_a_worker_send_the_same_at_the_same_instants_for_the_same_reasons(
    seed: int, tmp_path: Path
) -> None:
    rules = rules_of(tmp_path / "rules")
    records = records_of(history(seed))
    end_ms = records[-1].arrival_ms + 2 * DAY_MS
    listener = played(rules, [records], end_ms)
    sends, live = await lived(rules, records, end_ms)
    assert sorted(listener.sends) == sorted(sends)
    assert listener.steps == live.steps


def test_the_shop_of_these_tests_meets_every_kind_of_limit(tmp_path: Path) -> None:
    rules = rules_of(tmp_path / "rules")
    met: Counter[Reason] = Counter()

    class Reasons(Listener):
        def decided(self, user_id: str, decision: Decision) -> None:
            met[decision.reason] += 1

    for seed in range(4):
        records = records_of(history(seed))
        listener = Reasons()
        play = Play(rules, observer=listener, start_ms=START_MS)
        play.read(records)
        play.until(records[-1].arrival_ms + 2 * DAY_MS)
        assert len(listener.sends) > 20
        assert {send[5] for send in listener.sends} == {"", "a", "b"}
    wanted = {
        Reason.QUIET_HOURS,
        Reason.CAP,
        Reason.MIN_GAP,
        Reason.RATE_WAIT,
        Reason.BUDGET,
        Reason.HOLDOUT,
        Reason.ONLY_IF,
        Reason.NO_ADDRESS,
        Reason.OPTED_OUT,
        Reason.INACTIVE_ADDRESS,
        Reason.COOLDOWN,
        Reason.NOT_MATCHED,
        Reason.NOT_IN_ROLLOUT,
        Reason.ONCE_PER_SILENCE,
    }
    assert wanted - set(met) == set()


@pytest.mark.parametrize("seed", range(4))
def test_the_same_history_gives_the_same_sends_however_it_is_cut(seed: int, tmp_path: Path) -> None:
    rules = rules_of(tmp_path / "rules")
    records = records_of(history(seed, users=60))
    end_ms = records[-1].arrival_ms + 2 * DAY_MS
    whole = played(rules, [records], end_ms)
    assert whole.sends
    for size in (1, 7, 250):
        cut = [records[at : at + size] for at in range(0, len(records), size)]
        other = played(rules, cut, end_ms)
        assert (other.sends, other.steps) == (whole.sends, whole.steps), size


@pytest.mark.parametrize("seed", range(4))
def test_the_same_history_gives_the_same_sends_in_whatever_order_one_instant_is_told(
    seed: int, tmp_path: Path
) -> None:
    rules = rules_of(tmp_path / "rules")
    # Arrivals to the full hour: many users are told of at one instant.
    hour_ms = 3_600_000
    told = [(at_ms // hour_ms * hour_ms + hour_ms, data) for at_ms, data in history(seed, users=60)]
    end_ms = told[-1][0] + 2 * DAY_MS
    whole = played(rules, [records_of(told)], end_ms)
    chance = random.Random(seed)
    for _ in range(3):
        users = list(range(60))
        chance.shuffle(users)
        rank = {f'"user-{user}"'.encode(): place for place, user in enumerate(users)}

        def order(one: tuple[int, bytes], rank: dict[bytes, int] = rank) -> tuple[int, int]:
            at_ms, data = one
            return at_ms, next(place for name, place in rank.items() if name in data)

        other = played(rules, [records_of(sorted(told, key=order))], end_ms)
        assert (sorted(other.sends), other.steps) == (sorted(whole.sends), whole.steps)


@pytest.mark.parametrize("seed", range(6))
def test_the_quick_way_through_ordinary_records_leads_to_the_same_place(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = rules_of(tmp_path / "rules")
    told = history(seed, users=40)
    # Every event twice, the second time late: half of what is told is not new.
    told += [(at_ms + 7 * MINUTE_MS, data) for at_ms, data in told]
    records = records_of(sorted(told, key=lambda one: one[0]))
    took: Counter[bool] = Counter()
    take = Swift.take

    def watched(self: Swift, record: Record, now_ms: int) -> bool:
        taken = take(self, record, now_ms)
        took[taken] += 1
        return taken

    monkeypatch.setattr(Swift, "take", watched)
    quick, plain = (Run("rules", rules, start_ms=records[0].arrival_ms) for _ in range(2))
    monkeypatch.setattr(plain, "_read", plain.play.read)
    for run in (quick, plain):
        for slice_ in Slicer().slices([records]):
            run.take(slice_)
    assert quick.finish() == plain.finish()
    assert took[True] > len(records) // 3
    assert took[False] > len(records) // 10
    ones, others = (
        {user: (run.play.memory.view(person, START_MS), person.due_ms) for user, person in people}
        for run in (quick, plain)
        for people in [run.play.memory.people.items()]
    )
    assert ones == others
