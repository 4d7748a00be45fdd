"""Against two independent Kinesis servers: reshards while running and while stopped.

kinesis-local names child shards when a shard ends; kinesalite never does, needs one more empty
answer, and says "0 ms behind" to everything.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.kinesis.aggregate import aggregate
from tests.kinesis.reading import Noted, Reading, State
from worker.clock import SystemClock
from worker.errors import StreamNotFound, StreamRecreated
from worker.kinesis.reader import confirm_identity
from worker.kinesis.source import KinesisSource, Start
from worker.kinesis.stream import Description
from worker.kinesis.stream import Stream as KinesisStream
from worker.model import DAY_MS

BOTH = [
    pytest.param("kinesis-local", marks=pytest.mark.peer("kinesis-local")),
    pytest.param("kinesalite", marks=pytest.mark.peer("kinesalite")),
]
KEYS = [f"key {number}" for number in range(6)]
MIDDLE = str(2**127)


class Stream:
    """A stream on a peer, written to in order: key by key, number by number."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.name = f"events-{uuid.uuid4()}"
        self.arn = ""
        self._written: dict[str, int] = defaultdict(int)

    async def create(self) -> None:
        await self._client.create_stream(StreamName=self.name, ShardCount=1)
        summary = await self.active()
        self.arn = summary["StreamARN"]

    async def active(self) -> Mapping[str, Any]:
        while True:
            answer = await self._client.describe_stream_summary(StreamName=self.name)
            summary: Mapping[str, Any] = answer["StreamDescriptionSummary"]
            if summary["StreamStatus"] == "ACTIVE":
                return summary
            await asyncio.sleep(0.02)

    async def shards(self) -> Sequence[Mapping[str, Any]]:
        answer = await self._client.list_shards(StreamName=self.name)
        shards: Sequence[Mapping[str, Any]] = answer["Shards"]
        return shards

    async def put(self, rounds: int) -> None:
        """So many further records of every key; PutRecord keeps the order, PutRecords does not."""
        for _ in range(rounds):
            await asyncio.gather(*(self._put(key) for key in KEYS))

    async def _put(self, key: str) -> None:
        text = f"{key}: {self._written[key]}"
        self._written[key] += 1
        await self._client.put_record(StreamName=self.name, PartitionKey=key, Data=text.encode())

    async def split(self) -> None:
        (open_shard,) = await self._open()
        await self._client.split_shard(
            StreamName=self.name, ShardToSplit=open_shard, NewStartingHashKey=MIDDLE
        )
        await self.active()

    async def merge(self) -> None:
        left, right = await self._open()
        await self._client.merge_shards(
            StreamName=self.name, ShardToMerge=left, AdjacentShardToMerge=right
        )
        await self.active()

    async def _open(self) -> list[str]:
        return [
            shard["ShardId"]
            for shard in await self.shards()
            if "EndingSequenceNumber" not in shard["SequenceNumberRange"]
        ]

    def expected(self) -> dict[str, list[int]]:
        return {key: list(range(count)) for key, count in self._written.items()}


def by_key(texts: Sequence[str]) -> dict[str, list[int]]:
    """The numbers read for every key, in the order they were read."""
    found: dict[str, list[int]] = defaultdict(list)
    for text in texts:
        key, _, number = text.partition(": ")
        found[key].append(int(number))
    return dict(found)


@asynccontextmanager
async def reading(
    client: Any, stream: str, state: State, *, start: Start = "TRIM_HORIZON", noted: Any = None
) -> AsyncGenerator[Reading]:
    source = KinesisSource(
        client,
        stream=stream,
        start=start,
        clock=SystemClock(),
        observer=noted,
        poll_seconds=0.05,
        call_seconds=0.02,
    )
    one = Reading(source, state, commits=True)
    try:
        yield one
    finally:
        await source.stop()
        await one.task


async def read_all(one: Reading, stream: Stream) -> None:
    """Waits until as many records were read as were written."""
    expected = sum(len(numbers) for numbers in stream.expected().values())
    await one.until(lambda: len(one.state.read) >= expected)


@pytest.fixture
async def stream(client: Any) -> Stream:
    one = Stream(client)
    await one.create()
    return one


@pytest.mark.parametrize("peer", BOTH)
async def test_reshards_while_reading_lose_nothing_and_keep_the_order_of_every_key(
    peer: str, client: Any, stream: Stream
) -> None:
    state, noted = State(), Noted()
    async with reading(client, stream.name, state, noted=noted) as one:
        await stream.put(3)
        await stream.split()
        await stream.put(3)
        await stream.merge()
        await stream.put(3)
        await read_all(one, stream)
        watermark_ms = one.source.watermark_ms()

    assert by_key(state.texts) == stream.expected()
    ended = [name for name, position in state.positions.items() if position.ended]
    assert len(ended) == 3
    assert noted.fast == [True]
    assert watermark_ms is not None


@pytest.mark.parametrize("peer", BOTH)
async def test_reshards_while_stopped_lose_nothing_and_repeat_nothing(
    peer: str, client: Any, stream: Stream
) -> None:
    state = State()
    await stream.put(2)
    async with reading(client, stream.name, state) as one:
        await read_all(one, stream)
    assert by_key(state.texts) == stream.expected()

    await stream.put(2)
    await stream.split()
    await stream.put(2)
    async with reading(client, stream.name, state) as one:
        await read_all(one, stream)
    assert by_key(state.texts) == stream.expected()

    await stream.merge()
    await stream.put(2)
    await stream.split()
    await stream.put(2)
    async with reading(client, stream.name, state) as one:
        await read_all(one, stream)
    assert by_key(state.texts) == stream.expected()


@pytest.mark.parametrize("peer", BOTH)
async def test_a_stream_deleted_and_made_anew_is_another_stream(
    peer: str, client: Any, stream: Stream
) -> None:
    source = KinesisSource(client, stream=stream.name, start="LATEST", clock=SystemClock())
    before = await source.open()
    await client.delete_stream(StreamName=stream.name)
    # kinesalite tells the birth of a stream in whole seconds.
    await asyncio.sleep(1)
    with pytest.raises(StreamNotFound, match=stream.name):
        await source.open()
    await stream.create()

    after = await source.open()
    assert after.name == before.name
    assert after.created_ms > before.created_ms
    with pytest.raises(StreamRecreated):
        await confirm_identity(
            KinesisStream(client, stream.name, Noted()),
            Description(identity=before, retention_ms=DAY_MS),
        )


@pytest.mark.peer("kinesis-local")
async def test_latest_reads_what_comes_after_the_start_and_all_of_the_children(
    client: Any, stream: Stream
) -> None:
    await client.put_record(StreamName=stream.name, PartitionKey="old", Data=b"old: 0")
    await asyncio.sleep(0.05)
    state = State()
    async with reading(client, stream.name, state, start="LATEST") as one:
        await one.until(lambda: bool(state.positions))
        await stream.put(2)
        await stream.split()
        await stream.put(2)
        await read_all(one, stream)

    assert by_key(state.texts) == stream.expected()


@pytest.mark.peer("kinesis-local")
async def test_a_stream_may_be_named_by_its_arn(client: Any, stream: Stream) -> None:
    state = State()
    await stream.put(1)
    async with reading(client, stream.arn, state) as one:
        await read_all(one, stream)

    assert by_key(state.texts) == stream.expected()
    assert one.batches[0].stream.name == stream.name


@pytest.mark.peer("kinesis-local")
async def test_more_shards_than_fit_on_a_page_are_all_read(client: Any) -> None:
    stream = Stream(client)
    await client.create_stream(StreamName=stream.name, ShardCount=120)
    await stream.active()
    state = State()
    async with reading(client, stream.name, state) as one:
        await one.until(lambda: len(state.positions) == 120)

    assert len(state.positions) == 120


@pytest.mark.peer("kinesalite")
async def test_aggregates_of_the_producer_library_are_taken_apart(
    client: Any, stream: Stream
) -> None:
    state, noted = State(), Noted()
    packed = aggregate([("a", b"a: 0"), ("b", b"b: 0"), ("a", b"a: 1")])
    for data in (packed, b"a: 2"):
        await client.put_record(StreamName=stream.name, PartitionKey="x", Data=data)
    async with reading(client, stream.name, state, noted=noted) as one:
        await one.until(lambda: len(state.read) == 4)

    assert state.texts == ["a: 0", "b: 0", "a: 1", "a: 2"]
    assert noted.aggregates == [3]
    assert noted.records == 2
