"""How often shards are asked, how much is held in memory, and what the watermark claims."""

from __future__ import annotations

import itertools

import pytest

from tests.kinesis.fake_kinesis import NOW_MS, Body, FakeKinesis, error
from tests.kinesis.reading import State, Worker
from worker.kinesis.reader import IDLE_ANSWERS_MIN
from worker.kinesis.source import LISTING_SECONDS
from worker.model import DAY_MS, MINUTE_MS, Position

FIRST = "shardId-000000000000"


def pauses(service: FakeKinesis) -> list[float]:
    """Seconds between GetRecords calls."""
    times = [at for name, _, at in service.calls if name == "GetRecords"]
    return [later - earlier for earlier, later in itertools.pairwise(times)]


async def test_a_shard_that_is_behind_is_asked_five_times_a_second(
    worker: Worker, service: FakeKinesis
) -> None:
    service.answer_records = 1
    service.put(FIRST, *"abcdefghijk")
    async with worker.reading(State()):
        await worker.clock.advance(1.9)

    assert pauses(service) == pytest.approx([0.2] * 9)


async def test_a_shard_that_is_caught_up_is_asked_at_the_poll_interval(
    worker: Worker, service: FakeKinesis
) -> None:
    async with worker.reading(State(), poll_seconds=2.5):
        await worker.clock.advance(3)
        service.put(FIRST, "a")
        await worker.clock.advance(7)

    assert pauses(service) == pytest.approx([2.5] * 4)


async def test_a_shard_that_stays_empty_is_asked_half_as_often_until_it_gives_something(
    worker: Worker, service: FakeKinesis
) -> None:
    async with worker.reading(State(), poll_seconds=1):
        await worker.clock.advance(20)
        service.put(FIRST, "a")
        await worker.clock.advance(6)

    assert pauses(service)[: IDLE_ANSWERS_MIN - 1] == pytest.approx([1] * (IDLE_ANSWERS_MIN - 1))
    assert pauses(service)[IDLE_ANSWERS_MIN:14] == pytest.approx([2] * (14 - IDLE_ANSWERS_MIN))
    assert pauses(service)[-4:] == pytest.approx([1] * 4)


async def test_a_large_answer_is_followed_by_the_pause_its_bytes_cost(
    worker: Worker, service: FakeKinesis
) -> None:
    service.answer_records = 1
    service.put(FIRST, "x" * 3_000, "y")
    async with worker.reading(State(), shard_bytes_per_second=1_000):
        await worker.clock.advance(4)

    assert pauses(service)[0] == pytest.approx(3.0)


async def test_a_gap_is_crossed_quickly_and_a_shard_without_news_is_not_hammered(
    worker: Worker, service: FakeKinesis
) -> None:
    def empty(request: Body) -> tuple[int, Body]:
        iterator = request["ShardIterator"]
        return 200, {"Records": [], "MillisBehindLatest": 5_000, "NextShardIterator": iterator}

    service.fail("GetRecords", *[empty] * 1_000)
    async with worker.reading(State()):
        await worker.clock.advance(60)

    assert pauses(service)[:10] == pytest.approx([0.2] * 10)
    assert pauses(service)[10:] == pytest.approx([1.0] * 58)


async def test_an_idle_shard_does_not_slow_a_busy_one(worker: Worker, service: FakeKinesis) -> None:
    shards = [FIRST, *(service.add_shard() for _ in range(19))]
    state = State()
    async with worker.reading(state):
        await worker.clock.advance(5)
        for _ in range(5):
            service.put(shards[13], "a")
            before = len(state.read)
            await worker.clock.advance(1)
            assert len(state.read) == before + 1


async def test_answers_in_memory_are_bounded_however_many_shards_are_behind(
    worker: Worker, service: FakeKinesis
) -> None:
    shards = [FIRST, *(service.add_shard() for _ in range(15))]
    for shard in shards:
        service.put(shard, "a", "b")
    state = State()
    state.positions = {shard: Position(shard_id=shard) for shard in shards}
    async with worker.reading(state, commits=False, answers_in_memory_max=5) as reading:
        await worker.clock.advance(20)
        assert len(service.calls_of("GetRecords")) == 5

        reading.open_for_commits.set()
        await worker.clock.advance(3)
    assert len(state.read) == 32


async def test_the_watermark_is_unknown_until_every_shard_was_read(
    worker: Worker, service: FakeKinesis
) -> None:
    second = service.add_shard()
    stuck = ["ProvisionedThroughputExceededException"] * 3
    service.fail("GetRecords", *stuck)
    async with worker.reading(State()) as reading:
        assert reading.source.watermark_ms() is None
        await worker.clock.advance(0.5)
        assert reading.source.watermark_ms() is None
        lags = {status.shard_id: status.lag_ms for status in reading.source.shards()}
        assert lags == {FIRST: None, second: None}
        await worker.clock.advance(60)
        assert worker.clock.now_ms() - (reading.source.watermark_ms() or 0) <= 1_000


async def test_the_watermark_is_that_of_the_shard_furthest_behind(
    worker: Worker, service: FakeKinesis
) -> None:
    second = service.add_shard()
    service.put(second, "old")
    await worker.clock.advance(600)
    service.put(second, "young")
    service.answer_records = 1
    async with worker.reading(State()) as reading:
        await worker.clock.advance(0)
        behind_ms = worker.clock.now_ms() - (reading.source.watermark_ms() or 0)
        assert behind_ms == 600_000
        await worker.clock.advance(2)
        assert worker.clock.now_ms() - (reading.source.watermark_ms() or 0) <= 1_000


async def test_the_watermark_waits_for_the_commit(worker: Worker, service: FakeKinesis) -> None:
    state = State()
    async with worker.reading(state) as reading:
        await worker.clock.advance(2)
        reading.open_for_commits.clear()
        service.put(FIRST, "a")
        put_ms = worker.clock.now_ms()
        await worker.clock.advance(60)
        assert (reading.source.watermark_ms() or 0) <= put_ms
        (status,) = reading.source.shards()
        assert (status.lag_ms or 0) >= 60_000

        reading.open_for_commits.set()
        await worker.clock.advance(2)
        assert (reading.source.watermark_ms() or 0) > put_ms


async def test_the_end_of_a_closed_shard_does_not_pass_for_the_end_of_the_stream(
    worker: Worker, service: FakeKinesis
) -> None:
    """At the end of a closed shard the service says 0 ms behind: true of the shard, and days
    wrong of its children. Nothing may be sent on such news."""
    service.put(FIRST, "a")
    left, right = service.split(FIRST)
    await worker.clock.advance(60)
    for number in range(20):
        service.put(left, f"{number}")
        service.put(right, f"{number}")
        await worker.clock.advance(60)
    await worker.clock.advance(3_600)
    service.answer_records = 5

    seen: list[int] = []
    state = State()
    async with worker.reading(state) as reading:
        while len(state.read) < 41:
            watermark_ms = reading.source.watermark_ms()
            if watermark_ms is not None and len(state.read) < 30:
                seen.append(watermark_ms)
            await worker.clock.advance(0.1)
        await worker.clock.advance(5)
        assert worker.clock.now_ms() - (reading.source.watermark_ms() or 0) <= 1_000

    assert seen, "the watermark was known while there was a backlog"
    assert max(seen) < NOW_MS + 21 * MINUTE_MS


async def test_a_split_leaves_no_moment_without_a_watermark(
    worker: Worker, service: FakeKinesis
) -> None:
    def children_fail(request: Body) -> tuple[int, Body | bytes]:
        if request["ShardIterator"].startswith(FIRST):
            return service.answer("GetRecords", request)
        return error("InternalFailureException")(request)

    async with worker.reading(State()) as reading:
        await worker.clock.advance(5)
        left, right = service.split(FIRST)
        split_ms = worker.clock.now_ms()
        service.fail("GetRecords", *[children_fail] * 12)
        for _ in range(50):
            watermark_ms = reading.source.watermark_ms()
            assert watermark_ms is not None
            assert watermark_ms <= split_ms
            await worker.clock.advance(0.1)
        assert [status.shard_id for status in reading.source.shards()] == [left, right]
        await worker.clock.advance(60)
        assert (reading.source.watermark_ms() or 0) > split_ms


async def test_a_shard_that_was_closed_while_it_was_read_speaks_only_for_its_records(
    worker: Worker, service: FakeKinesis
) -> None:
    """kinesalite answers a closed shard with an iterator and "0 ms behind" once more."""

    def not_yet_the_end(request: Body) -> tuple[int, Body]:
        iterator = request["ShardIterator"]
        return 200, {"Records": [], "MillisBehindLatest": 0, "NextShardIterator": iterator}

    async with worker.reading(State()) as reading:
        await worker.clock.advance(5)
        service.split(FIRST)
        split_ms = worker.clock.now_ms()
        service.fail("GetRecords", *[not_yet_the_end] * 100)
        await worker.clock.advance(90)
        assert (reading.source.watermark_ms() or 0) <= split_ms + LISTING_SECONDS * 1_000


async def test_children_the_listing_does_not_show_yet_are_waited_for(
    worker: Worker, service: FakeKinesis
) -> None:
    state = State()
    service.put(FIRST, "parent")
    async with worker.reading(state) as reading:
        await worker.clock.advance(5)
        left, right = service.split(FIRST)
        service.put(left, "left")
        service.put(right, "right")
        hidden = {name: service.shards[name] for name in (left, right)}

        def stale(request: Body) -> tuple[int, Body | bytes]:
            everything = dict(service.shards)
            for name in hidden:
                del service.shards[name]
            answer = service.answer("ListShards", request)
            service.shards = everything
            return answer

        service.fail("ListShards", stale)
        at_end_ms = worker.clock.now_ms()
        await worker.clock.advance(20)
        assert state.positions[FIRST].ended
        watermark_ms = reading.source.watermark_ms()
        assert watermark_ms is not None
        assert watermark_ms <= at_end_ms + 1_000
        await worker.clock.advance(20)
        assert worker.clock.now_ms() - (reading.source.watermark_ms() or 0) <= 1_000

    assert sorted(state.texts) == ["left", "parent", "right"]


async def test_waiting_shards_are_shown_as_waiting(worker: Worker, service: FakeKinesis) -> None:
    left, right = service.split(FIRST)
    service.put(FIRST, "a")
    state = State()
    state.positions[FIRST] = Position(shard_id=FIRST, sequence_number="1")
    async with worker.reading(state, commits=False) as reading:
        await worker.clock.advance(1)
        states = {status.shard_id: status.state for status in reading.source.shards()}

    assert states == {FIRST: "starting", left: "waiting", right: "waiting"}


async def test_the_retention_is_known_once_the_stream_is_open(
    worker: Worker, service: FakeKinesis
) -> None:
    async with worker.reading(State()) as reading:
        assert reading.source.retention_ms == DAY_MS
