"""`kill -9` at random moments over a running crowd: nothing is lost, nothing is doubled.

Judged from outside: what the provider took, what the crowd did, and, for sends whose call was cut
in two, what `comeback state` lists as uncertain. KILLS=200 makes it longer; test_many_kills.py
has many more users, of fewer kinds.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from pathlib import Path

import pytest

from tests.acceptance.world import World, now_ms, pause, until, world
from worker.clock import SystemClock
from worker.model import CHANNEL_OF_TYPE, ClaimState
from worker.sandbox.crowd import COMES_BACK_AFTER, Crowd, Habit, Member
from worker.sandbox.demo_verdict import LADDER, nothing_after_return
from worker.sandbox.pinpoint_replies import ACCEPTED, DEAD, Reply
from worker.store.reading import StateReader

KILLS = int(os.environ.get("KILLS", "25"))
USERS = 600
ALIVE_SECONDS = (0.1, 1.5)
"""How long a worker lives once it is ready."""
SECONDS_PER_KILL = 1.8
"""About what one life and the next start take; the crowd drifts off all along."""
RULES = Path(__file__).parents[2] / "worker" / "sandbox" / "demo_rules" / "shop.yaml"
SILENT = {Habit.STAYS, Habit.OPTED_OUT, Habit.ASLEEP}
WITHOUT_PUSH = {Habit.DEAD_TOKEN, Habit.NO_PUSH}


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_killed_again_and_again_no_stage_is_lost_or_doubled(tmp_path: Path) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    chance = random.Random(seed)
    async with world(tmp_path, rules=RULES.read_text()) as one:
        one.pinpoint.behaviour = _answer
        begin_ms = now_ms()
        drift = (3.0, KILLS * SECONDS_PER_KILL)
        crowd = Crowd(users=USERS, seed=seed, now_ms=begin_ms, drift_seconds=drift)
        feeding = asyncio.create_task(_feed(one, crowd, begin_ms))
        for _ in range(KILLS):
            worker = await one.start_ready(COMEBACK_LOG_LEVEL="warning")
            await pause(chance.uniform(*ALIVE_SECONDS))
            await asyncio.to_thread(worker.kill)
        await one.start_ready()
        await until(lambda: not _problems(one, crowd), "every ladder is climbed", 120)
        await pause(3)
        assert _problems(one, crowd) == []
        feeding.cancel()
        taken = Counter(send.send_id for send in one.sends if send.status == "SUCCESSFUL")
        assert max(taken.values()) == 1, "no send is accepted twice"
        uncertain = sum(map(len, _uncertain(one.state, crowd).values()))
        listed = (await one.state_json())["uncertain"]
        assert len(listed) == uncertain, "every send in doubt is listed"
        print(f"kills {KILLS}, accepted {len(taken)}, uncertain {uncertain}")


def _answer(address: str, attempt: int) -> Reply:
    return DEAD if address.startswith("dead") else ACCEPTED


async def _feed(one: World, crowd: Crowd, begin_ms: int) -> None:
    """The crowd lives: its events go into the stream, what it is sent moves it."""
    seen = 0
    while True:
        for key, data in crowd.events(until=(now_ms() - begin_ms) / 1_000):
            one.stream.put(data, partition_key=key, now_ms=now_ms())
        crowd.landed((now_ms() - begin_ms) / 1_000)
        sends = one.sends
        for send in sends[seen:]:
            if send.status == "SUCCESSFUL":
                channel = CHANNEL_OF_TYPE[send.channel_type]
                crowd.receives(send.address, channel, send.time - begin_ms / 1_000)
        seen = len(sends)
        await pause(0.1)


def _uncertain(state: Path, crowd: Crowd) -> dict[str, set[str]]:
    """User to the channels whose send nobody knows the end of."""
    with StateReader(str(state), clock=SystemClock()) as reader:
        claims = {m.user_id: reader.claims_of(m.user_id, 100) for m in crowd.members}
    return {
        user: {send.claim.channel for send in sends if send.claim.state is ClaimState.UNCERTAIN}
        for user, sends in claims.items()
    }


def _problems(one: World, crowd: Crowd) -> list[str]:
    """What is wrong, or not yet done, with anybody."""
    uncertain = _uncertain(one.state, crowd)
    return [
        f"{member.user_id} ({member.habit}): {problem}"
        for member in crowd.members
        if (problem := _problem(member, uncertain[member.user_id]))
    ]


def _problem(member: Member, uncertain: set[str]) -> str | None:
    got = [channel for _, channel in member.received]
    if len(got) != len(set(got)):
        return f"a stage came twice: {got}"
    if member.habit in SILENT:
        return f"was written to: {got} {uncertain}" if got or uncertain else None
    if not nothing_after_return(member):
        return f"was written to after coming back at {member.in_stream_at}: {member.received}"
    reachable = [c for c in LADDER if c != "push" or member.habit not in WITHOUT_PUSH]
    if member.returned_at is not None:
        reachable = reachable[: reachable.index(COMES_BACK_AFTER[member.habit]) + 1]
    missing = [channel for channel in reachable if channel not in got and channel not in uncertain]
    return f"still lacks {missing}" if missing else None
