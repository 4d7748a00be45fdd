"""Ends and beginnings under load: SIGTERM in the middle of many calls, and standbys that take over.

Every text is its user's own, so every call carries one message: sends in doubt can be counted
against calls under way.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.acceptance.world import World, address, free_port, pause, until, visit, world
from worker.sandbox.pinpoint_replies import Reply
from worker.sandbox.processes import Child

pytestmark = pytest.mark.timeout(400)
"""A start takes many seconds where the machine is busy."""

CALLS_IN_FLIGHT_MAX = 8
"""The default of COMEBACK_CALLS_IN_FLIGHT_MAX."""
DRAIN_SECONDS = 5
KILLS = 4
RULES = """
apiVersion: v1
law_windows: ignore
rules:
  - rule: winback
    mode: live
    inactive_for: 1s
    stages:
      - {name: sms, channel: sms, message: {body: "Come back, {{ User.UserAttributes.Name }}"}}
"""


def come(one: World, users: int) -> set[str]:
    """Users with a name of their own; their numbers."""
    numbers = set()
    for number in range(users):
        event = visit(f"user{number}", "SMS")
        event["endpoint"]["User"]["UserAttributes"] = {"Name": [f"number {number}"]}
        one.put(event)
        numbers.add(address(f"user{number}", "SMS"))
    return numbers


def slow(where: str, _attempt: int) -> Reply:
    return Reply(delay_seconds=0.2 + int(where[-2:]) / 200)


async def test_sigterm_under_load_settles_every_call_that_was_answered(tmp_path: Path) -> None:
    async with world(tmp_path, rules=RULES) as one:
        one.pinpoint.behaviour = slow
        numbers = come(one, 150)
        for round_ in range(1, 4):
            worker = await one.start_ready()
            await until(lambda enough=30 * round_: len(one.sends) >= enough, "calls are made")
            worker.process.send_signal(signal.SIGTERM)
            begin = time.monotonic()
            assert await asyncio.to_thread(worker.process.wait, DRAIN_SECONDS + 5) == 0
            assert time.monotonic() - begin < DRAIN_SECONDS, "answers came; nothing was waited out"
            state = await one.state_json()
            sent = {"state": "sent", "channel": "sms", "count": len(one.sends)}
            assert state["sends"] == [sent], "what was called is known to be sent, all of it"
        await one.start_ready()
        await until(lambda: len(one.sends) >= len(numbers), "the rest follows", 40)
        await pause(1)
        assert Counter(send.address for send in one.sends) == Counter(numbers)


@pytest.mark.slow
async def test_standbys_take_over_from_killed_workers_and_double_nothing(tmp_path: Path) -> None:
    async with world(tmp_path, rules=RULES) as one:
        one.pinpoint.behaviour = slow
        numbers = come(one, 260)
        crew = dict(_start(one) for _ in range(3))
        enough = 0
        for _ in range(KILLS):
            leader = await _leader(one, crew)
            await until(lambda more=enough: len(one.sends) > more, "the leader sends")
            assert len([http for http in crew if await one.get("/-/ready", http) == 200]) == 1
            await asyncio.to_thread(crew.pop(leader).kill)
            enough = len(one.sends) + 20
            crew |= dict([_start(one)])
        await _leader(one, crew)
        code, output = await one.command("run", COMEBACK_STANDBY="false", COMEBACK_HTTP=":0")
        assert code == 75
        assert "in use by pid" in output

        async def all_done() -> bool:
            return len(_taken(one)) + len(await _never_called(one)) >= len(numbers)

        await until(all_done, "everybody is served or in doubt", 60)
        assert max(_taken(one).values()) == 1, "nobody is sent to twice"
        doubts = (await one.state_json())["uncertain"]
        print(f"kills {KILLS}, sends {len(one.sends)}, uncertain {len(doubts)}")
        assert 0 < len(doubts) <= KILLS * CALLS_IN_FLIGHT_MAX


def _taken(one: World) -> Counter[str]:
    return Counter(send.address for send in one.sends)


async def _never_called(one: World) -> set[str]:
    """Addresses whose claim was durable and whose call was not made when the worker was killed."""
    listed = (await one.state_json())["uncertain"]
    return {address(send["user"], "SMS") for send in listed} - _taken(one).keys()


def _start(one: World) -> tuple[str, Child]:
    http = f"127.0.0.1:{free_port()}"
    return http, one.start(COMEBACK_HTTP=http)


async def _leader(one: World, crew: dict[str, Child]) -> str:
    """The address of the one that is ready."""
    found: list[str] = []

    async def is_there() -> bool:
        found[:] = [http for http in crew if await one.get("/-/ready", http) == 200]
        return bool(found)

    await until(is_there, "somebody leads", 30)
    return found[0]
