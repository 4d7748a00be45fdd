"""The real process behind a proxy that breaks both of its wires, in every way a wire can break.

Three Kinesis servers: two independent ones and our own. FAULT_SEED=... replays the faults (not the
moments they strike at); FAULT_SECONDS makes it longer.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from aiobotocore.session import get_session

from tests.acceptance.proxy import DELAY_SECONDS, Fault, FaultyProxy, Passage, calm, dealt
from tests.acceptance.verdict import Life, Step, doubts_of, lives, missing, wrongs
from tests.acceptance.world import (
    LADDER,
    STREAM,
    World,
    address,
    now_ms,
    pause,
    until,
    visit,
    world,
)
from tests.peers.servers import running

pytestmark = pytest.mark.timeout(400)
"""A start takes many seconds where the machine is busy."""

SERVERS = [
    pytest.param("kinesis-local", marks=pytest.mark.peer("kinesis-local")),
    pytest.param("kinesalite", marks=pytest.mark.peer("kinesalite")),
    "sandbox",
]
FAULT_SECONDS = float(os.environ.get("FAULT_SECONDS", "12"))
USERS = 90
STEPS = (Step("push", "GCM", 3_000), Step("email", "EMAIL", 5_000), Step("sms", "SMS", 5_000))
RULES = LADDER.replace("after: 2s", "after: 5s")
STALENESS_MS = 2_000
LAG_MS = STALENESS_MS + round(DELAY_SECONDS[1] * 1_000)
TO_KINESIS = [fault for fault in Fault if fault is not Fault.STALLED]
TO_PINPOINT = list(Fault)
CLEAR_OF_A_DECK = 12
"""Requests that pass, for each time every fault has struck once."""
CLEAR = frozenset({None, Fault.THROTTLED, Fault.DELAYED, Fault.DRIBBLED})
"""After these the worker knows what became of its call."""


@pytest.mark.slow
@pytest.mark.parametrize("server", SERVERS)
async def test_whatever_the_wires_do_nobody_is_lost_doubled_or_bothered_after_a_return(
    server: str, tmp_path: Path
) -> None:
    seed = int(os.environ.get("FAULT_SEED", random.randrange(1_000_000)))
    print(f"FAULT_SEED={seed}")
    chance = random.Random(seed)
    async with _broken_world(server, tmp_path, chance) as (one, crowd, kinesis, pinpoint):
        kinesis.decide = dealt(chance, TO_KINESIS, clear=CLEAR_OF_A_DECK)
        pinpoint.decide = dealt(chance, TO_PINPOINT, clear=CLEAR_OF_A_DECK)
        worker = await one.start_ready(
            COMEBACK_CALL_TIMEOUT="4s",
            COMEBACK_MAX_STALENESS=f"{STALENESS_MS}ms",
            COMEBACK_LOG_LEVEL="warning",
        )
        await crowd.live(FAULT_SECONDS, chance)
        kinesis.decide = calm
        ladder_ms = sum(step.after_ms for step in STEPS)
        await pause(ladder_ms / 1_000)

        async def nothing_missing() -> bool:
            await pause(1)
            return not await crowd.missing(one)

        await until(nothing_missing, "every ladder is climbed", 90)
        assert crowd.wrongs(one) == []
        assert worker.process.poll() is None, "it never ended"
        assert "Traceback" not in worker.log_text()
        _judge_faults(one, await one.state_json(), kinesis, pinpoint)


Put: TypeAlias = Callable[[str, Sequence[Mapping[str, Any]]], Awaitable[None]]
"""Puts a user's events into the stream; returns when the stream has them."""


class Crowd:
    """Users who come, and of whom some come back, all noted when the stream has it."""

    def __init__(self, put: Put) -> None:
        self._put = put
        self.seen: dict[str, list[int]] = defaultdict(list)

    async def live(self, seconds: float, chance: random.Random) -> None:
        """Everybody comes once in the first half; every other comes back at any moment."""
        users = [f"user{number}" for number in range(USERS)]
        moments = [(chance.uniform(0, seconds / 2), user) for user in users]
        moments += [(at + chance.uniform(1, seconds / 2), user) for at, user in moments[::2]]
        begin = now_ms()
        for at, user in sorted(moments):
            await pause(max(0.0, at - (now_ms() - begin) / 1_000))
            await self._visit(user)

    async def _visit(self, user: str) -> None:
        kinds = ("GCM", "EMAIL", "SMS") if user not in self.seen else ("GCM",)
        visits = [visit(user, kind) for kind in kinds]
        await self._put(user, visits)
        self.seen[user].append(max(int(one["event_timestamp"]) for one in visits))

    def _lives(self, one: World) -> dict[str, Life]:
        owners = {address(user, step.channel_type): user for user in self.seen for step in STEPS}
        assert len(owners) == len(self.seen) * len(STEPS), "an address is one user's"
        return lives(self.seen, one.sends, STEPS, owners)

    def wrongs(self, one: World) -> list[str]:
        """What somebody got who should not have."""
        return [
            w for name, life in self._lives(one).items() for w in wrongs(name, life, STEPS, LAG_MS)
        ]

    async def missing(self, one: World) -> list[str]:
        """What somebody still lacks."""
        doubts = doubts_of(await one.state_json())
        found = self._lives(one).items()
        return [m for name, life in found for m in missing(name, life, STEPS, doubts)]


@asynccontextmanager
async def _broken_world(
    server: str, folder: Path, chance: random.Random
) -> AsyncGenerator[tuple[World, Crowd, FaultyProxy, FaultyProxy]]:
    """A world in which the worker reaches its peers through proxies only; the crowd does not."""
    async with AsyncExitStack() as stack:
        url = None if server == "sandbox" else stack.enter_context(running(server))
        one = await stack.enter_async_context(world(folder, rules=RULES, kinesis_url=url))
        if url is None:
            crowd = Crowd(_put_directly(one))
        else:
            client = get_session().create_client("kinesis", endpoint_url=url)
            crowd = Crowd(await _put_over_the_wire(await stack.enter_async_context(client)))
        proxies = []
        for name in ("AWS_ENDPOINT_URL_KINESIS", "AWS_ENDPOINT_URL_PINPOINT"):
            proxy = FaultyProxy(one.environment[name], chance=chance)
            one.environment[name] = await proxy.start()
            stack.push_async_callback(proxy.stop)
            proxies.append(proxy)
        # The worker goes before the proxies it talks to.
        stack.push_async_callback(one.stop_workers)
        yield one, crowd, proxies[0], proxies[1]


def _put_directly(one: World) -> Put:
    async def put(_user: str, events: Sequence[Mapping[str, Any]]) -> None:
        one.put(*events)

    return put


async def _put_over_the_wire(client: Any) -> Put:
    await client.create_stream(StreamName=STREAM, ShardCount=2)

    async def is_active() -> bool:
        summary = await client.describe_stream_summary(StreamName=STREAM)
        return bool(summary["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE")

    await until(is_active, "the stream is active")

    async def put(user: str, events: Sequence[Mapping[str, Any]]) -> None:
        records = [{"Data": json.dumps(event).encode(), "PartitionKey": user} for event in events]
        answer = await client.put_records(StreamName=STREAM, Records=records)
        assert answer["FailedRecordCount"] == 0

    return put


def _judge_faults(
    one: World, state: Mapping[str, Any], kinesis: FaultyProxy, pinpoint: FaultyProxy
) -> None:
    """The faults happened, and doubt comes from calls that met one, each send listed once."""
    for proxy in (kinesis, pinpoint):
        struck = Counter(str(passage.fault) for passage in proxy.passages)
        print(f"requests {len(proxy.passages)}, faults {dict(sorted(struck.items()))}")
    assert {p.fault for p in kinesis.passages} >= {*TO_KINESIS}, "every kind of fault struck"
    assert len({p.fault for p in pinpoint.passages}) >= len(TO_PINPOINT) // 2
    print(f"sends {len(one.sends)}, uncertain {len(state['uncertain'])}")
    may_doubt: set[str] = set()
    for passage in pinpoint.passages:
        if passage.fault not in CLEAR:
            may_doubt |= _send_ids(passage)
    listed = [send["send_id"] for send in state["uncertain"]]
    assert len(listed) == len(set(listed))
    assert set(listed) <= may_doubt, "a call that was answered is in doubt"
    assert {send.send_id for send in one.sends} >= {
        send_id
        for passage in pinpoint.passages
        if passage.upstream_status == 200
        for send_id in _send_ids(passage)
    }


def _send_ids(passage: Passage) -> set[str]:
    addresses = json.loads(passage.body)["Addresses"]
    return {settings["Context"]["send_id"] for settings in addresses.values()}
