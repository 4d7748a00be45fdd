"""Stuck is a loop at work that does not come round; idle or finished is not stuck."""

from __future__ import annotations

from worker.health import LOOP_SILENT_SECONDS_MAX, Health
from worker.testing import FakeClock


async def test_a_loop_that_does_not_come_round_in_time_is_stuck_until_it_does() -> None:
    clock = FakeClock()
    health = Health(clock=clock)
    health.beat("outbox")
    await clock.advance(LOOP_SILENT_SECONDS_MAX)
    assert health.stuck() == []
    await clock.advance(1)
    assert health.stuck() == ["outbox"]
    health.beat("outbox")
    assert health.stuck() == []


async def test_stuck_loops_are_named_in_order_and_the_others_are_not() -> None:
    clock = FakeClock()
    health = Health(clock=clock)
    health.beat("outbox")
    health.beat("ingest")
    await clock.advance(LOOP_SILENT_SECONDS_MAX + 1)
    health.beat("housekeeping")
    assert health.stuck() == ["ingest", "outbox"]


async def test_nothing_is_expected_of_a_loop_that_rests() -> None:
    clock = FakeClock()
    health = Health(clock=clock)
    health.rest("ingest")
    health.beat("ingest")
    health.rest("ingest")
    await clock.advance(1_000_000)
    assert health.stuck() == []


async def test_a_wall_clock_that_jumps_makes_nobody_stuck() -> None:
    clock = FakeClock()
    health = Health(clock=clock)
    health.beat("outbox")
    clock.step_wall(86_400_000)
    assert health.stuck() == []


def test_a_process_that_only_starts_is_well_but_not_ready() -> None:
    health = Health(clock=FakeClock())
    assert health.stuck() == []
    assert health.not_ready_because == "starting"
