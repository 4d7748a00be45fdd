"""The real process on two independent Kinesis servers, resharded while it runs and while it is
stopped: every user's silence is noticed once, nobody is lost, nobody is written to twice.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiobotocore.session import get_session

from tests.acceptance.world import STREAM, World, address, pause, until, visit, world
from tests.peers.servers import running
from worker.clock import SystemClock
from worker.store.reading import StateReader

BOTH = [
    pytest.param("kinesis-local", marks=pytest.mark.peer("kinesis-local")),
    pytest.param("kinesalite", marks=pytest.mark.peer("kinesalite")),
]
USERS_PER_PHASE = 60
PUSH_ONLY = """
apiVersion: v1
law_windows: ignore
rules:
  - rule: winback
    mode: live
    inactive_for: 4s
    stages: [{name: push, channel: push, message: {title: t, body: b}}]
"""


class Peer:
    """A stream on an independent server."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def create(self) -> None:
        await self._client.create_stream(StreamName=STREAM, ShardCount=2)
        await self.settle()

    async def settle(self) -> None:
        async def active() -> bool:
            summary = await self._client.describe_stream_summary(StreamName=STREAM)
            status: str = summary["StreamDescriptionSummary"]["StreamStatus"]
            return status == "ACTIVE"

        await until(active, "the stream is active")

    async def put(self, phase: str) -> list[str]:
        """One visit of each user of a phase."""
        users = [f"{phase}-{number}" for number in range(USERS_PER_PHASE)]
        records = [
            {"Data": json.dumps(visit(user, "GCM")).encode(), "PartitionKey": user}
            for user in users
        ]
        answer = await self._client.put_records(StreamName=STREAM, Records=records)
        assert answer["FailedRecordCount"] == 0
        return users

    async def open_shards(self) -> Sequence[Any]:
        shards = (await self._client.list_shards(StreamName=STREAM))["Shards"]
        parents = {s.get("ParentShardId") for s in shards}
        parents |= {s.get("AdjacentParentShardId") for s in shards}
        return sorted(
            (s for s in shards if s["ShardId"] not in parents),
            key=lambda s: int(s["HashKeyRange"]["StartingHashKey"]),
        )

    async def split(self) -> None:
        first = (await self.open_shards())[0]
        ends = first["HashKeyRange"]
        middle = (int(ends["StartingHashKey"]) + int(ends["EndingHashKey"])) // 2
        await self._client.split_shard(
            StreamName=STREAM, ShardToSplit=first["ShardId"], NewStartingHashKey=str(middle)
        )
        await self.settle()

    async def merge(self) -> None:
        one, other, *_ = await self.open_shards()
        await self._client.merge_shards(
            StreamName=STREAM, ShardToMerge=one["ShardId"], AdjacentShardToMerge=other["ShardId"]
        )
        await self.settle()


@asynccontextmanager
async def peer_and_world(name: str, folder: Path) -> AsyncGenerator[tuple[Peer, World]]:
    with running(name) as url:
        async with (
            get_session().create_client("kinesis", endpoint_url=url) as client,
            world(folder, rules=PUSH_ONLY, kinesis_url=url) as one,
        ):
            peer = Peer(client)
            await peer.create()
            yield peer, one


@pytest.mark.parametrize("name", BOTH)
async def test_resharding_loses_nobody_and_repeats_nobody(name: str, tmp_path: Path) -> None:
    async with peer_and_world(name, tmp_path) as (peer, one):
        worker = await one.start_ready()
        users = await peer.put("before")
        await peer.split()
        users += await peer.put("after-split")
        await until(lambda: _known(one, users), "the worker follows the split")
        await peer.merge()
        users += await peer.put("after-merge")
        await until(lambda: _known(one, users), "the worker follows the merge")

        await asyncio.to_thread(worker.stop)
        users += await peer.put("while-stopped")
        await peer.split()
        users += await peer.put("split-while-stopped")
        await peer.merge()
        users += await peer.put("merged-while-stopped")
        await one.start_ready()
        await until(lambda: _known(one, users), "the worker reads what it missed", 40)

        tokens = {address(user, "GCM") for user in users}
        await until(lambda: len(one.sends) >= len(tokens), "everybody's silence is noticed", 40)
        await pause(2)
        assert Counter(send.address for send in one.sends) == Counter(tokens)


def _known(one: World, users: Sequence[str]) -> bool:
    with StateReader(str(one.state), clock=SystemClock()) as reader:
        return all(reader.user(user) for user in users)
