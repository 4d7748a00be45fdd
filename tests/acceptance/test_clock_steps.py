"""The machine's clock is set under a real worker, three hours forward and three back: nothing goes
out twice, nothing at night, and who came while it was right gets the whole ladder.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from tests.acceptance.world import BentClock, World, address, now_ms, pause, until, visit, world
from worker.sandbox.crowd import zone_at_hour

pytestmark = pytest.mark.timeout(400)
"""A start takes many seconds where the machine is busy."""

HOUR_MS = 3_600_000
STEP_MS = 3 * HOUR_MS
GROUP = 12
KINDS = ("GCM", "EMAIL", "SMS")
HOURS = {"day": 12, "night": 2, "evening": 19}
"""What time it is for a group. Three hours later it is night for the evening, too; three hours
away from the day it is day, from the night it is night."""
RULES = """
apiVersion: v1
law_windows: ignore
quiet_hours:
  - {name: night, from: "21:00", to: "08:00"}
rules:
  - rule: winback
    mode: live
    inactive_for: 3s
    stages:
      - {name: push, channel: push, message: {title: Hello, body: Come back}}
      - {name: email, channel: email, after: 2s, message: {subject: Hello, text: Come back}}
      - {name: sms, channel: sms, after: 2s, message: {body: Come back}}
"""


def come(one: World, wave: str, group: str) -> list[str]:
    users = [f"{wave}-{group}-{number}" for number in range(GROUP)]
    zone = zone_at_hour(now_ms(), HOURS[group])
    for user in users:
        for kind in KINDS:
            event = visit(user, kind)
            event["endpoint"]["Demographic"] = {"Timezone": zone}
            one.put(event)
    return users


def got(one: World, users: list[str], *kinds: str) -> bool:
    wanted = {address(user, kind) for user in users for kind in kinds}
    return wanted <= {send.address for send in one.sends}


@pytest.mark.slow
async def test_a_clock_set_forward_and_back_doubles_nothing_and_wakes_nobody(
    tmp_path: Path,
) -> None:
    clock = BentClock(tmp_path / "clock")
    async with world(tmp_path, rules=RULES) as one:
        one.environment["CLOCK_FILE"] = str(clock.path)
        worker = one.start_sabotaged()
        await one.ready(worker)
        sleepers = come(one, "right", "night")
        right = come(one, "right", "day")
        await until(lambda: got(one, right, *KINDS), "the ladder is climbed while it is right")

        evening = come(one, "before-forward", "evening")
        await pause(1)
        clock.step_to(STEP_MS)
        sleepers += come(one, "forward", "night")
        forward = come(one, "forward", "day")
        await until(lambda: got(one, forward, "GCM"), "those of the day are served at once")
        await pause(3)
        assert not any(got(one, [user], kind) for user in evening for kind in KINDS), "it is 22:00"

        clock.step_to(-STEP_MS)
        sleepers += come(one, "back", "night")
        back = come(one, "back", "day")
        await pause(2)
        await asyncio.to_thread(worker.kill)
        worker = one.start_sabotaged()
        await one.ready(worker)
        await pause(4)
        assert not any(got(one, [user], kind) for user in back for kind in KINDS), "not yet 3 s"

        clock.step_to(0)
        await until(lambda: got(one, back, *KINDS), "who came while it was back climbs now", 30)
        # Their hold was judged in a wrong night, which ends at eight by a right clock at latest.
        late = come(one, "right-again", "day")
        await until(lambda: got(one, late, *KINDS), "all goes on", 30)
        assert worker.process.poll() is None
        _judge(one, sleepers)


def _judge(one: World, sleepers: list[str]) -> None:
    taken = Counter(send.address for send in one.sends)
    assert [where for where, times in taken.items() if times > 1] == [], "sent twice"
    at_night = {address(user, kind) for user in sleepers for kind in KINDS}
    assert at_night & taken.keys() == set(), "sent at night"
