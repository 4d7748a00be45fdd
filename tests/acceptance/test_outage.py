"""Three days without a worker: a real process whose clock and stream are three days back at first.

Nothing is compressed: waits are days, arrival stamps are days old, and the backlog is read through
a proxy that breaks the wire. The returns stand at its end, behind the activity of everybody else.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.proxy import Fault, FaultyProxy, dealt
from tests.acceptance.world import BentClock, World, address, now_ms, pause, until, visit, world
from worker.sandbox.kinesis import KinesisServer
from worker.sandbox.stream_values import Behaviour

pytestmark = pytest.mark.timeout(400)
"""A start takes many seconds where the machine is busy."""

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
OUTAGE_MS = 3 * DAY_MS
SHARDS = 3
GROUP = 40
BYSTANDERS = 1_500
VISITS_OF_A_BYSTANDER = 24
KINDS = ("GCM", "EMAIL", "SMS")
RULES = """
apiVersion: v1
law_windows: ignore
rules:
  - rule: winback
    mode: live
    inactive_for: 1d
    stages:
      - {name: push, channel: push, message: {title: Hello, body: Come back}}
      - {name: email, channel: email, after: 1d, message: {subject: Hello, text: Come back}}
      - {name: sms, channel: sms, after: 1d, message: {body: Come back}}
"""
WIRE = [f for f in Fault if f not in (Fault.STALLED, Fault.DELAYED)]
STAY, EARLY, LATE = "stays-away", "back-and-quiet-again", "back"
"""What they do in the outage: nothing; come back on its first day only; on its last day."""
EXPECTED = {
    ("pushed", STAY): ("EMAIL",),
    ("pushed", EARLY): ("GCM",),
    ("pushed", LATE): (),
    ("quiet", STAY): ("GCM",),
    ("quiet", EARLY): ("GCM",),
    ("quiet", LATE): (),
}
"""What a user gets after the outage, by where the ladder stood before it. Who came back and has
been quiet for a day since begins anew; e-mail and SMS are for tomorrow."""


@pytest.mark.slow
async def test_nobody_who_came_back_in_an_outage_of_three_days_is_written_to(
    tmp_path: Path,
) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    chance = random.Random(seed)
    begin_ms = now_ms() - OUTAGE_MS
    clock = BentClock(tmp_path / "clock", offset_ms=-5 * DAY_MS)
    kinesis = KinesisServer(behaviour=Behaviour(retention_ms=7 * DAY_MS), now_ms=clock.now_ms)
    async with world(tmp_path, rules=RULES, shards=SHARDS, kinesis=kinesis) as one:
        one.environment["CLOCK_FILE"] = str(clock.path)
        clock.step_to(-OUTAGE_MS)
        _put(one, _before(chance, begin_ms))
        worker = one.start_sabotaged()
        await one.ready(worker)
        pushed = {address(u, "GCM") for group, _, u in _users() if group == "pushed"}
        await until(lambda: pushed <= {s.address for s in one.sends}, "the first are pushed", 90)
        await pause(1)
        assert len(one.sends) == len(pushed)
        await asyncio.to_thread(worker.kill)

        clock.step_to(0)
        _put(one, _meanwhile(chance, begin_ms))
        await _read_the_backlog(one, chance)
        got = Counter((send.address, send.channel_type) for send in one.sends)
        got.subtract((token, "GCM") for token in pushed)
        expected = {
            (address(user, kind), kind)
            for group, habit, user in _users()
            for kind in EXPECTED[group, habit]
        }
        assert {key for key, times in got.items() if times} == expected
        assert max(got.values()) == 1
        assert (await one.state_json())["uncertain"] == []


async def _read_the_backlog(one: World, chance: random.Random) -> None:
    """Starts a worker behind a broken wire and waits until it has nothing more to send. While it
    reads, it sweeps ten times a second and may not send a thing."""
    proxy = FaultyProxy(one.environment["AWS_ENDPOINT_URL_KINESIS"], chance=chance)
    proxy.decide = dealt(chance, WIRE, clear=3 * len(WIRE))
    before = len(one.sends)
    try:
        worker = one.start_sabotaged(AWS_ENDPOINT_URL_KINESIS=await proxy.start())
        await one.ready(worker)
        await until(lambda: len(one.sends) > before, "the backlog is read", 90)
        reads = sum(passage.target == "GetRecords" for passage in proxy.passages)
        print(f"GetRecords before the first send: {reads}")
        total = sum(len(kinds) for kinds in EXPECTED.values()) * GROUP
        await until(lambda: len(one.sends) >= before + total, "everybody due is sent to", 60)
        await pause(3)
        await asyncio.to_thread(worker.kill)
    finally:
        await proxy.stop()


def _users() -> list[tuple[str, str, str]]:
    """(where the ladder stands, what they do in the outage, user id)."""
    return [(*key, f"{key[0]}-{key[1]}-{n}") for key in EXPECTED for n in range(GROUP)]


def _before(chance: random.Random, begin_ms: int) -> list[tuple[int, dict[str, Any]]]:
    """Everybody's last visit: a day and a half, or half a day, before the outage begins."""
    events = []
    for group, _, user in _users():
        ago = 1.5 * DAY_MS if group == "pushed" else 0.5 * DAY_MS
        at_ms = begin_ms - round(ago + chance.uniform(0, HOUR_MS))
        events += [(at_ms, _at(user, kind, at_ms)) for kind in KINDS]
    return events


def _meanwhile(chance: random.Random, begin_ms: int) -> list[tuple[int, dict[str, Any]]]:
    """Returns, and bystanders who never stop to visit."""
    events = []
    for _, habit, user in _users():
        if habit == EARLY:
            at_ms = begin_ms + round(chance.uniform(0.1, 1) * DAY_MS)
            events.append((at_ms, _at(user, "GCM", at_ms)))
        if habit == LATE:
            # The first of them after everything they might have got fell due.
            at_ms = begin_ms + OUTAGE_MS - round(chance.uniform(0.01, 18) * HOUR_MS)
            events.append((at_ms, _at(user, chance.choice(KINDS), at_ms)))
    for number in range(BYSTANDERS):
        for turn in range(VISITS_OF_A_BYSTANDER):
            share = (turn + chance.uniform(0, 0.9)) / VISITS_OF_A_BYSTANDER
            at_ms = begin_ms + round(share * OUTAGE_MS)
            events.append((at_ms, _at(f"bystander-{number}", "GCM", at_ms)))
    return events


def _at(user: str, kind: str, at_ms: int) -> dict[str, Any]:
    return visit(user, kind, event_timestamp=at_ms, arrival_timestamp=at_ms)


def _put(one: World, events: list[tuple[int, dict[str, Any]]]) -> None:
    for at_ms, event in sorted(events, key=lambda pair: pair[0]):
        key = event["client"]["client_id"]
        one.stream.put(json.dumps(event).encode(), partition_key=key, now_ms=at_ms)
