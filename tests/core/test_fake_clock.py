"""Virtual time: it stands still, and sleepers wake in its order."""

from __future__ import annotations

import asyncio

import pytest

from worker.ports import Clock
from worker.testing import FakeClock, settle_tasks


async def test_time_moves_only_when_told() -> None:
    clock: Clock = FakeClock(now_ms=5_000)
    await settle_tasks()
    assert (clock.now_ms(), clock.monotonic()) == (5_000, 0.0)


async def test_sleepers_wake_at_their_instants_in_their_order() -> None:
    clock = FakeClock()
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, *naps: float) -> None:
        for nap in naps:
            assert await clock.sleep(nap) is False
            woken.append((name, clock.monotonic()))

    tasks = [
        asyncio.create_task(sleeper("long", 3.0)),
        asyncio.create_task(sleeper("short", 1.0, 1.0, 5.0)),
        asyncio.create_task(sleeper("equal", 3.0)),
    ]
    await clock.advance(4.0)
    assert woken == [("short", 1.0), ("short", 2.0), ("long", 3.0), ("equal", 3.0)]
    assert (clock.monotonic(), clock.now_ms(), clock.sleeping) == (4.0, 4_000, 1)
    await clock.advance(3.0)
    await asyncio.gather(*tasks)
    assert clock.sleeping == 0


async def test_a_wake_ends_a_sleep_early_and_a_set_one_prevents_it() -> None:
    clock, wake = FakeClock(), asyncio.Event()
    sleep = asyncio.create_task(clock.sleep(60, wake))
    await clock.advance(1)
    assert not sleep.done()
    wake.set()
    assert await sleep is True
    assert await clock.sleep(60, wake) is True
    assert (clock.monotonic(), clock.sleeping) == (1.0, 0)


async def test_a_sleep_that_is_not_woken_ends_by_itself() -> None:
    clock = FakeClock()
    sleep = asyncio.create_task(clock.sleep(60, asyncio.Event()))
    await clock.advance(60)
    assert await sleep is False


async def test_no_time_is_a_turn_for_the_others() -> None:
    clock, turns = FakeClock(), []
    task = asyncio.create_task(settle_tasks())
    task.add_done_callback(lambda _: turns.append(1))
    while not turns:
        assert await clock.sleep(0) is False
    assert clock.monotonic() == 0.0


async def test_a_cancelled_sleep_is_forgotten() -> None:
    clock = FakeClock()
    sleeps = [asyncio.create_task(clock.sleep(60, e)) for e in (None, asyncio.Event())]
    await settle_tasks()
    assert clock.sleeping == 2
    for sleep in sleeps:
        sleep.cancel()
    await asyncio.gather(*sleeps, return_exceptions=True)
    assert clock.sleeping == 0
    await clock.advance(120)


async def test_the_wall_can_be_set_back_and_no_sleeper_notices() -> None:
    clock = FakeClock(now_ms=10_000)
    sleep = asyncio.create_task(clock.sleep(5))
    clock.step_wall(-9_000)
    await clock.advance(4)
    assert not sleep.done()
    await clock.advance(1)
    assert sleep.done()
    assert (clock.now_ms(), clock.monotonic()) == (6_000, 5.0)


async def test_monotonic_time_cannot_go_back() -> None:
    with pytest.raises(AssertionError, match="step_wall"):
        await FakeClock().advance(-1)
