"""The simulated Kinesis as a client of the SDK sees it, with everything that goes wrong there.

The stream itself is the sandbox's pure one. Here are the calls: how long they take, how they fail,
what was given to whom. One `Kinesis` for the world, one `KinesisClient` for each process.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime
from random import Random
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from tests.simulator.clock import WorldTime
from tests.simulator.faults import Faults
from tests.simulator.rulebook import HOUR_MS
from tests.simulator.story import Fact, Given, Trimmed
from worker.kinesis.wire import KEY, Answer, ChildShard, WireRecord
from worker.sandbox.kinesis_refusals import KinesisRefusal
from worker.sandbox.kinesis_tokens import ShardIterator, unseal
from worker.sandbox.shard import Shard
from worker.sandbox.stream import SimulatedStream
from worker.sandbox.stream_values import Behaviour, IteratorType, RecordPage

STREAM = "events"
READ_TIMEOUT_SECONDS = 30.0
OPEN_SHARDS_MAX = 4
COMMITTED_WITHIN_MS = HOUR_MS
"""A record that was given to a process which ended this soon after may not have been kept."""

_ENDPOINT = "https://kinesis.simulated"


def refusal(operation: str, code: str, status: int = 400) -> ClientError:
    """An AWS error answer, as botocore raises it."""
    return ClientError(
        {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": status}},
        operation,
    )


class Kinesis:
    """The stream of the world, its incarnations, and who got which record of it."""

    def __init__(
        self,
        time: WorldTime,
        faults: Faults,
        rng: Random,
        tell: Callable[[Fact], None],
        *,
        shards: int,
        behaviour: Behaviour,
    ) -> None:
        self._time = time
        self._faults = faults
        self._rng = rng
        self._tell = tell
        self._behaviour = behaviour
        self.stream = SimulatedStream(
            STREAM, shards=shards, now_ms=time.now_ms(), behaviour=behaviour
        )
        self.outages: list[tuple[float, float]] = []
        """Loop times in which no call is answered."""
        self.given_to: dict[int, tuple[int, int]] = {}
        """Record to when it was last given, and to which process."""
        self.ended_ms: dict[int, int] = {}
        """Process to when it ended."""
        self._numbers: dict[str, int] = {}
        self._kept: deque[tuple[int, int]] = deque()
        """Arrival and number of what is on the stream, oldest first."""
        self._records = 0
        self._news: set[str] = set()
        """Shards with something nobody has seen."""
        self.answers_in_flight = self.answers_in_flight_most = 0

    # --- what the world does to it ------------------------------------------------------------

    def put(self, data: bytes, key: str) -> int:
        """Writes a record; returns its number."""
        now_ms = self._time.now_ms()
        placed = self.stream.put(data, partition_key=key, now_ms=now_ms)
        self._records += 1
        self._numbers[placed.sequence_number] = self._records
        self._kept.append((now_ms, self._records))
        self._news.add(placed.shard_id)
        return self._records

    def reshard(self, kind: str) -> bool:
        """Splits or merges at random; False when it cannot be done now."""
        stream, now_ms = self.stream, self._time.now_ms()
        shards = stream.open_shards
        if kind == "split" and len(shards) < OPEN_SHARDS_MAX:
            self._everybody_has_news()
            stream.split(self._rng.choice(shards).shard_id, now_ms=now_ms)
            return True
        if kind == "merge" and len(shards) > 1:
            at = self._rng.randrange(len(shards) - 1)
            self._everybody_has_news()
            stream.merge(shards[at].shard_id, shards[at + 1].shard_id, now_ms=now_ms)
            return True
        return False

    def recreate(self) -> None:
        """The stream is deleted, and made anew under its name. What it held is gone."""
        self._trim(self._time.now_ms() + 1)
        self._everybody_has_news()
        self.stream = SimulatedStream(
            STREAM,
            shards=self._rng.randint(1, 2),
            now_ms=self._time.now_ms(),
            behaviour=self._behaviour,
        )

    def has_news(self, shard_id: str) -> bool:
        """Has anything happened to a shard since it was last read?"""
        return shard_id in self._news

    def was_read(self, shard_id: str) -> None:
        """All of it was, up to now."""
        self._news.discard(shard_id)

    def outage_until(self, at: float) -> float | None:
        """The end of the outage that lasts at a loop time."""
        index = bisect_right(self.outages, (at, float("inf"))) - 1
        if index >= 0 and at < self.outages[index][1]:
            return self.outages[index][1]
        return None

    def _everybody_has_news(self) -> None:
        self._news.update(shard.shard_id for shard in self.stream.open_shards)

    # --- what is told -------------------------------------------------------------------------

    def forget_old(self) -> None:
        """Tells of records that left the stream unread."""
        self._trim(self._time.now_ms() - self._behaviour.retention_ms)

    def give(self, page: RecordPage, process: int) -> None:
        """Tells of records that a process gets now."""
        now_ms = self._time.now_ms()
        for record in page.records:
            number = self._numbers[record.sequence_number]
            self.given_to[number] = (now_ms, process)
            self._tell(Given(at_ms=now_ms, record=number))

    def _trim(self, before_ms: int) -> None:
        while self._kept and self._kept[0][0] < before_ms:
            _, number = self._kept.popleft()
            given_ms, process = self.given_to.get(number, (0, -1))
            ended_ms = self.ended_ms.get(process)
            if process < 0 or (ended_ms is not None and ended_ms - given_ms < COMMITTED_WITHIN_MS):
                self._tell(Trimmed(at_ms=self._time.now_ms(), record=number))


class KinesisClient:
    """What one process calls. Answers and errors are those of an aiobotocore client, except that
    records come decoded, as the worker's own hook leaves them."""

    def __init__(
        self, kinesis: Kinesis, time: WorldTime, faults: Faults, rng: Random, process: int
    ) -> None:
        self._kinesis = kinesis
        self._time = time
        self._faults = faults
        self._rng = rng
        self._process = process
        nothing = SimpleNamespace(register=_ignore, unregister=_ignore)
        self.meta = SimpleNamespace(events=nothing, region_name="simulated", endpoint_url=_ENDPOINT)

    async def describe_stream_summary(self, **_: object) -> Mapping[str, Any]:
        """DescribeStreamSummary."""
        await self._way("DescribeStreamSummary")
        stream = self._kinesis.stream
        created = datetime.fromtimestamp(stream.created_ms / 1_000).astimezone()
        return {
            "StreamDescriptionSummary": {
                "StreamName": stream.name,
                "StreamCreationTimestamp": created,
                "RetentionPeriodHours": stream.behaviour.retention_ms // HOUR_MS,
            }
        }

    async def list_shards(self, **_: object) -> Mapping[str, Any]:
        """ListShards, all on one page."""
        await self._way("ListShards")
        page = self._kinesis.stream.list_shards(now_ms=self._time.now_ms())
        return {"Shards": [_shard(shard) for shard in page.shards]}

    async def get_shard_iterator(self, **request: Any) -> Mapping[str, Any]:
        """GetShardIterator."""
        await self._way("GetShardIterator")
        at: datetime | None = request.get("Timestamp")
        iterator = self._answered(
            "GetShardIterator",
            lambda now_ms: self._kinesis.stream.shard_iterator(
                request["ShardId"],
                IteratorType(request["ShardIteratorType"]),
                sequence_number=request.get("StartingSequenceNumber"),
                timestamp_ms=None if at is None else round(at.timestamp() * 1_000),
                now_ms=now_ms,
            ),
        )
        return {"ShardIterator": iterator}

    async def get_records(self, **request: Any) -> Mapping[str, Any]:
        """GetRecords."""
        kinesis, faults = self._kinesis, self._faults
        kinesis.answers_in_flight += 1
        most = max(kinesis.answers_in_flight, kinesis.answers_in_flight_most)
        kinesis.answers_in_flight_most = most
        try:
            await self._way("GetRecords")
            kinesis.forget_old()
            if faults.strikes("iterator_expired"):
                raise refusal("GetRecords", "ExpiredIteratorException")
            page = self._page(request)
            if page.records:
                await self._takes(self._rng.uniform(0, 0.2))
                if faults.strikes("stream_answer_lost"):
                    raise ReadTimeoutError(endpoint_url=_ENDPOINT)
                kinesis.give(page, self._process)
            if page.behind_ms == 0:
                kinesis.was_read(unsealed_shard(request["ShardIterator"]))
            return {KEY: _answer(page)}
        finally:
            kinesis.answers_in_flight -= 1

    def _page(self, request: Mapping[str, Any]) -> RecordPage:
        page: RecordPage = self._answered(
            "GetRecords",
            lambda now_ms: self._kinesis.stream.get_records(
                request["ShardIterator"], now_ms=now_ms, records_max=request["Limit"]
            ),
        )
        return page

    def _answered(self, operation: str, call: Callable[[int], Any]) -> Any:
        try:
            return call(self._time.now_ms())
        except KinesisRefusal as refused:
            raise refusal(operation, refused.code) from None

    async def _way(self, operation: str) -> None:
        """The way of a request to the service, with what may befall it there."""
        faults, rng = self._faults, self._rng
        outage = self._kinesis.outage_until(self._time.loop.time())
        if outage is not None:
            await self._takes(rng.uniform(0.01, 2))
            raise refusal(operation, "InternalFailureException", 500)
        if faults.strikes("stream_slow"):
            await self._takes(rng.choice((0.5, 5, 25)) * rng.random())
        elif rng.random() < 0.3:
            await self._takes(rng.random() * 0.08)
        if faults.strikes("stream_throttled"):
            raise refusal(operation, "ProvisionedThroughputExceededException")
        if faults.strikes("kms_throttled"):
            raise refusal(operation, "KMSThrottlingException")
        if faults.strikes("stream_error"):
            raise refusal(operation, rng.choice(("InternalFailureException", "Gone")), 500)
        if faults.strikes("stream_timeout"):
            await self._takes(READ_TIMEOUT_SECONDS)
            raise ReadTimeoutError(endpoint_url=_ENDPOINT)
        if faults.strikes("stream_cut"):
            raise ConnectionClosedError(endpoint_url=_ENDPOINT)

    async def _takes(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def nothing_is_wrong(client: object) -> None:
    """Takes the place of `worker.kinesis.wire.self_test`: answers come decoded here."""


def unsealed_shard(iterator: str) -> str:
    """The shard an iterator is for."""
    place = unseal(iterator, ShardIterator)
    assert place is not None
    return place.shard_id


def _ignore(*_: object, **__: object) -> None:
    """Event hooks have nothing to do."""


def _shard(shard: Shard) -> dict[str, Any]:
    numbers = {"StartingSequenceNumber": shard.starting_sequence_number}
    if shard.ending_sequence_number is not None:
        numbers["EndingSequenceNumber"] = shard.ending_sequence_number
    parents = zip(("ParentShardId", "AdjacentParentShardId"), shard.parents, strict=False)
    return {"ShardId": shard.shard_id, **dict(parents), "SequenceNumberRange": numbers}


def _answer(page: RecordPage) -> Answer:
    return Answer(
        records=tuple(
            WireRecord(
                sequence_number=one.sequence_number,
                data=one.data,
                approximate_arrival_timestamp=one.arrival_ms / 1_000,
                partition_key=one.partition_key,
            )
            for one in page.records
        ),
        next_shard_iterator=page.next_iterator,
        millis_behind_latest=page.behind_ms,
        child_shards=tuple(
            ChildShard(shard_id=child.shard_id, parent_shards=tuple(child.parents))
            for child in page.children
        )
        or None,
    )
