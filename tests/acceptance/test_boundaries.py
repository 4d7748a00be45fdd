"""The real process, ended by SIGKILL at every durable boundary: nothing is lost, nothing doubled.

A story kills one worker after the other on one state; users come in before each of them, and the
last one is left alone. Judged by what the provider took and by `comeback state --json`.
"""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.acceptance.saboteur import BOUNDARIES
from tests.acceptance.world import World, address, until, world

pytestmark = pytest.mark.timeout(400)
"""A start takes many seconds where the machine is busy."""

USERS_PER_KILL = 12
KILLED_SECONDS_MAX = 30.0
CHANNELS = ("GCM", "EMAIL")
RULES = """
apiVersion: v1
law_windows: ignore
rules:
  - rule: winback
    mode: live
    inactive_for: 1s
    stages:
      - {name: push, channel: push, message: {title: Hello, body: Come back}}
      - {name: email, channel: email, after: 1s, message: {subject: Hello, text: Come back}}
"""


class Kill(NamedTuple):
    """Where a worker ends; `on`: which time the boundary is reached."""

    at: str
    on: int = 1


def both(part: str, on: int = 1) -> tuple[Kill, Kill]:
    return Kill(f"{part}:uncommitted", on), Kill(f"{part}:committed", on)


STORIES = {
    "a first start": (
        *(Kill(f"open:{moment}") for moment in ("locked", "created", "migrated")),
        *both("recover"),
        *both("positions"),
        *both("wake"),
    ),
    "reading and sending": (
        *both("apply"),
        *both("sweep"),
        Kill("call:before"),
        *both("recover"),
        Kill("call:answered"),
        *both("settle"),
        *both("sweep", 2),
    ),
    "an edit, housekeeping and the end": (
        *both("adopt"),
        Kill("adopt:committed", 2),
        Kill("adopt:uncommitted", 3),
        *both("prune"),
        Kill("close:before"),
        Kill("close:after"),
    ),
}
"""A kill of `recover` follows one that leaves claims open."""
IN_CALL = {"sweep:committed", "call:before", "call:answered", "settle:uncommitted"}
"""Boundaries between a claim and what is known of it."""


def test_the_stories_reach_every_boundary() -> None:
    assert {kill.at for story in STORIES.values() for kill in story} == set(BOUNDARIES)


@pytest.mark.slow
@pytest.mark.parametrize("name", STORIES)
async def test_killed_at_a_boundary_nothing_is_lost_or_doubled(name: str, tmp_path: Path) -> None:
    async with world(tmp_path, rules=RULES) as one:
        users: list[str] = []
        if "edit" in name:
            await asyncio.to_thread((await one.start_ready()).stop)
        for number, kill in enumerate(STORIES[name]):
            if kill.at.startswith("adopt"):
                edited = RULES.replace("Come back", f"Come back {number}")
                (one.rules / "rules.yaml").write_text(edited)
            users += _come(one, f"{number}-{kill.at.replace(':', '-')}")
            await _run_until_killed(one, kill)
        await one.start_ready(COMEBACK_LOG_LEVEL="warning")
        doubts = await _uncertain(one)
        await until(lambda: not _missing(one, users, doubts), "every ladder is climbed", 60)
        uncertain = await _uncertain(one)
        assert uncertain == doubts, "the last worker, which lived, left no new doubt"
        taken = Counter((send.address, send.channel_type) for send in one.sends)
        assert [key for key, times in taken.items() if times > 1] == [], "sent twice"
        _judge_doubts(name, uncertain)
        if len(uncertain) > 3:
            _, text = await one.command("state", "--uncertain", "3")
            assert f"the last 3 of {len(uncertain)}; --uncertain N shows more" in text


def _come(one: World, prefix: str) -> list[str]:
    users = [f"{prefix}-{number}" for number in range(USERS_PER_KILL)]
    for user in users:
        one.visit(user, *CHANNELS)
    return users


async def _run_until_killed(one: World, kill: Kill) -> None:
    worker = one.start_sabotaged(KILL_AT=kill.at, KILL_ON=str(kill.on))
    if kill.at.startswith("close"):
        await one.ready(worker)
        worker.process.send_signal(signal.SIGTERM)
    code = await asyncio.to_thread(worker.process.wait, KILLED_SECONDS_MAX)
    assert code == -signal.SIGKILL, f"{kill} was not reached:\n{worker.log_text()}"


async def _uncertain(one: World) -> set[tuple[str, str]]:
    """User and stage of every send nobody knows the end of."""
    return {(send["user"], send["stage"]) for send in (await one.state_json())["uncertain"]}


def _missing(one: World, users: list[str], uncertain: set[tuple[str, str]]) -> list[str]:
    took = {send.address for send in one.sends}
    return [
        f"{user} lacks {stage}"
        for user in users
        for stage, kind in zip(("push", "email"), CHANNELS, strict=True)
        if address(user, kind) not in took and (user, stage) not in uncertain
    ]


def _judge_doubts(name: str, uncertain: set[tuple[str, str]]) -> None:
    """Doubt comes from calls under way and from nothing else."""
    story = STORIES[name]
    in_call = [kill.at for kill in story if kill.at in IN_CALL]
    print(f"kills {len(story)}, in a call {len(in_call)}, uncertain sends {len(uncertain)}")
    if in_call:
        assert len(uncertain) >= USERS_PER_KILL, "a kill in a call leaves a doubt"
    elif not any(kill.at.startswith("prune") for kill in story):
        assert uncertain == set(), "nobody was being sent anything"
