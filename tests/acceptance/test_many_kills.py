"""A live stream under which workers are killed one after the other: P1 and P2, counted.

    KILLS=200 USERS=100000 .venv/bin/pytest tests/acceptance/test_many_kills.py -s

A quarter of the workers is killed while they start, a quarter at any moment, half in a call. Calls
go through a proxy that notes when each came and when its answer was handed over, so that each send
in doubt can be held against the calls that were under way when its worker was killed.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.flock import CALL_SECONDS, Flock, Habit, Tempo, always_taken, kinds_of
from tests.acceptance.proxy import FaultyProxy, Passage
from tests.acceptance.verdict import doubts_of, missing, wrongs
from tests.acceptance.world import World, now_ms, pause, until, world
from worker.sandbox.processes import Child

KILLS = int(os.environ.get("KILLS", "8"))
USERS = int(os.environ.get("USERS", "800"))
LARGE_USERS = 20_000
ALIVE_SECONDS = (0.05, 1.0)
STARTING_SECONDS = (0.05, 1.5)
CALL_AWAITED_SECONDS = 4.0
CALLS_IN_FLIGHT_MAX = 8
ADDRESSES_PER_CALL_MAX = 100
SETTLED_WITHIN_SECONDS = 5.0
"""An answer that was handed over so long before a kill has been written."""


def tempo() -> Tempo:
    """A crowd that is loaded in a moment lives fast; a large one gives the reader time."""
    if USERS >= LARGE_USERS:
        return Tempo(pulse=150, inactive=180, after=20)
    return Tempo(pulse=3, inactive=6, after=4)


@dataclass
class Tally:
    """When workers were killed, and what was under way."""

    at: list[float] = field(default_factory=list)
    under_way: list[int] = field(default_factory=list)
    """Calls, as the proxy saw them."""


@pytest.mark.slow
@pytest.mark.timeout(600 + KILLS * 15)
async def test_killed_over_a_live_stream_no_stage_is_lost_or_doubled(tmp_path: Path) -> None:
    seed = int(os.environ.get("KILL_SEED", random.randrange(1_000_000)))
    print(f"KILL_SEED={seed}")
    chance = random.Random(seed)
    pace = tempo()
    async with world(tmp_path, rules=pace.rules) as one:
        one.pinpoint.behaviour = always_taken
        proxy = FaultyProxy(one.environment["AWS_ENDPOINT_URL_PINPOINT"], chance=chance)
        one.environment |= {
            "AWS_ENDPOINT_URL_PINPOINT": await proxy.start(),
            "COMEBACK_MAX_STALENESS": f"{pace.after // 2}s",
            "COMEBACK_LOG_LEVEL": "warning",
        }
        flock = Flock(users=USERS, tempo=pace, chance=chance, begin_ms=now_ms())
        feeding = asyncio.create_task(_feed(one, flock))
        try:
            tally = Tally()
            await _kill(await _loaded(one), proxy, tally)
            await _kill_again_and_again(one, proxy, flock, chance, tally)
            flock.progress = 1.0
            await one.start_ready()
            state = await _wait_until_all_is_said(one, flock, pace)
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            await one.stop_workers()
            await proxy.stop()
        _judge(one, flock, pace)
        _judge_doubts(state, proxy, tally)


async def _feed(one: World, flock: Flock) -> None:
    """Puts visits into the stream and takes messages to their readers, for ever."""
    seen = 0
    for key, data in flock.introductions(now_ms()):
        one.stream.put(data, partition_key=key, now_ms=now_ms())
    while True:
        at_ms = now_ms()
        for key, data in flock.visits(at_ms):
            one.stream.put(data, partition_key=key, now_ms=at_ms)
        sends = one.pinpoint.sends
        fresh = len(sends) - seen
        flock.receives([sends[-n] for n in range(fresh, 0, -1)])
        seen += fresh
        await pause(0.05)


async def _loaded(one: World) -> Child:
    """The first worker, when it has read everybody."""
    begin = time.monotonic()
    worker = await one.start_ready()

    async def is_loaded() -> bool:
        return bool((await one.state_json())["users"] == USERS)

    await until(is_loaded, "everybody is in the state", 300)
    print(f"{USERS} users loaded in {time.monotonic() - begin:.0f} s")
    return worker


async def _kill(worker: Child, proxy: FaultyProxy, tally: Tally) -> None:
    tally.under_way.append(len(proxy.under_way(time.time())))
    await asyncio.to_thread(worker.kill)
    tally.at.append(time.time())


async def _kill_again_and_again(
    one: World, proxy: FaultyProxy, flock: Flock, chance: random.Random, tally: Tally
) -> None:
    begin = time.monotonic()
    for number in range(KILLS - 1):
        flock.progress = number / KILLS
        worker = one.start()
        match chance.choice(("starting", "at work", "in a call", "in a call")):
            case "starting":
                await pause(chance.uniform(*STARTING_SECONDS))
            case "at work":
                await one.ready(worker)
                await pause(chance.uniform(*ALIVE_SECONDS))
            case _:
                await one.ready(worker)
                await _call_under_way(proxy)
                await pause(chance.uniform(0, CALL_SECONDS))
        await _kill(worker, proxy, tally)
        if number % 20 == 19:
            print(f"kill {number + 2}, sends {len(one.pinpoint.sends)}", flush=True)
    print(f"{KILLS} kills in {time.monotonic() - begin:.0f} s; calls under way: {tally.under_way}")


async def _call_under_way(proxy: FaultyProxy) -> None:
    """Until a call is, or for long enough that there may be nothing to send."""
    deadline = time.monotonic() + CALL_AWAITED_SECONDS
    while not proxy.under_way(time.time()) and time.monotonic() < deadline:
        await pause(0.02)


async def _wait_until_all_is_said(one: World, flock: Flock, pace: Tempo) -> dict[str, Any]:
    state: dict[str, Any] = {}

    async def all_is_said() -> bool:
        await pause(2)
        state.update(await one.state_json())
        under_way = any(row["state"] == "claimed" for row in state["sends"])
        to_come = sum(1 for _ in _missing(flock, pace, state))
        print(f"{to_come} stages to come", flush=True)
        return not under_way and not to_come

    ladder = pace.pulse + pace.inactive + 2 * pace.after
    await until(all_is_said, "every ladder is climbed", ladder + 600)
    return state


def _missing(flock: Flock, pace: Tempo, state: dict[str, Any]) -> Iterator[str]:
    doubts = defaultdict(list)
    for doubt in doubts_of(state):
        doubts[doubt.user].append(doubt)
    for number in flock.gone():
        ladder = pace.ladder[: len(kinds_of(number))]
        name = f"user-{number}"
        yield from missing(name, flock.lives[number], ladder, doubts[name])


def _judge(one: World, flock: Flock, pace: Tempo) -> None:
    """P1 by send and by address, and everything `wrongs` knows."""
    sends = Counter(send.send_id for send in one.pinpoint.sends)
    assert max(sends.values()) == 1, "a send was called twice"
    lag_ms = (pace.after // 2) * 1_000
    found = [
        wrong
        for number, life in enumerate(flock.lives)
        for wrong in wrongs(f"user-{number}", life, pace.ladder, lag_ms)
    ]
    assert found == []
    habits = Counter(habit.name for habit in flock.habits)
    back = sum(flock.is_back)
    visits = sum(len(life.seen_ms) for life in flock.lives)
    print(f"users {dict(habits)}, visits {visits}, came back {back}, sends {len(sends)}")
    assert habits[Habit.NEVER.name]


def _judge_doubts(state: dict[str, Any], proxy: FaultyProxy, tally: Tally) -> None:
    """Each send in doubt is listed, and belongs to a call that was under way at a kill, of which
    there were no more than the worker makes at once."""
    counted = sum(row["count"] for row in state["sends"] if row["state"] == "uncertain")
    listed = {send["send_id"]: send for send in state["uncertain"]}
    assert len(listed) == counted, "every send in doubt is listed"
    call_of = {send_id: passage for passage in proxy.passages for send_id in _send_ids(passage)}
    calls: dict[int, set[int]] = defaultdict(set)
    unseen: dict[int, Counter[str]] = defaultdict(Counter)
    for send_id, send in listed.items():
        passage = call_of.get(send_id)
        if passage is None:
            unseen[bisect_left(tally.at, send["at_ms"] / 1_000)][send["stage"]] += 1
            continue
        kill = bisect_left(tally.at, passage.at)
        assert kill < len(tally.at), "in doubt, and nobody was killed"
        ended_at = passage.ended_at or tally.at[kill]
        assert ended_at > tally.at[kill] - SETTLED_WITHIN_SECONDS, "it had been answered"
        calls[kill].add(passage.number)
    in_doubt = {
        kill: len(calls[kill]) + sum(-(-n // ADDRESSES_PER_CALL_MAX) for n in unseen[kill].values())
        for kill in {*calls, *unseen}
    }
    most = max(in_doubt.values(), default=0)
    print(
        f"uncertain sends {counted}, of calls the provider never saw"
        f" {sum(sum(c.values()) for c in unseen.values())}; kills that left doubt {len(in_doubt)};"
        f" calls in doubt at a kill: at most {most} of {CALLS_IN_FLIGHT_MAX}"
    )
    assert most <= CALLS_IN_FLIGHT_MAX


def _send_ids(passage: Passage) -> list[str]:
    addresses = json.loads(passage.body)["Addresses"]
    return [settings["Context"]["send_id"] for settings in addresses.values()]
