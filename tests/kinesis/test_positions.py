"""A position the service does not take: trimmed, of a stream that is gone, or in the future."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from tests.kinesis.fake_kinesis import CREATED_MS, Body, FakeKinesis, error
from tests.kinesis.reading import State, Worker
from worker.errors import StreamNotFound, StreamRecreated
from worker.model import DAY_MS, MINUTE_MS, Position

FIRST = "shardId-000000000000"


async def test_an_iterator_nobody_accepts_is_made_anew_before_a_loss_is_suspected(
    worker: Worker, service: FakeKinesis
) -> None:
    state = State()
    service.put(FIRST, "a")
    async with worker.reading(state):
        await worker.clock.advance(5)
        service.put(FIRST, "b")
        service.fail("GetRecords", *["InternalFailureException"] * 3, "InvalidArgumentException")
        await worker.clock.advance(30)

    assert state.texts == ["a", "b"]
    assert worker.noted.gaps_ms == []


@pytest.mark.parametrize("code", ["InvalidArgumentException", "ResourceNotFoundException"])
async def test_a_trimmed_position_goes_on_at_the_trim_horizon_and_is_counted_once(
    worker: Worker, service: FakeKinesis, code: str
) -> None:
    """kinesis-local says ResourceNotFound, which must not be taken for a stream that is gone."""
    state = State()
    state.positions[FIRST] = Position(shard_id=FIRST, sequence_number="17")
    service.put(FIRST, "oldest that is kept")

    def refuse_old(request: Body) -> tuple[int, Body | bytes]:
        if request.get("StartingSequenceNumber") == "17":
            return error(code)(request)
        return service.answer("GetShardIterator", request)

    service.fail("GetShardIterator", *[refuse_old] * 50)
    with capture_logs() as logs:
        async with worker.reading(state):
            await worker.clock.advance(60)

    assert state.texts == ["oldest that is kept"]
    assert worker.noted.gaps_ms == [None], "how much was between, nobody can say after a restart"
    assert [line["event"] for line in logs] == ["records_possibly_lost"]


async def test_a_position_that_is_empty_for_ever_a_whole_retention_behind_was_trimmed(
    worker: Worker, service: FakeKinesis
) -> None:
    state = State()
    service.put(FIRST, "a")

    def trimmed(request: Body) -> tuple[int, Body | bytes]:
        iterator = request["ShardIterator"]
        if iterator.split("/")[1] != state.positions[FIRST].sequence_number:
            return service.answer("GetRecords", request)
        return 200, {"Records": [], "MillisBehindLatest": DAY_MS, "NextShardIterator": iterator}

    async with worker.reading(state) as reading:
        await worker.clock.advance(5)
        read_through_ms = reading.source.watermark_ms()
        service.put(FIRST, "b")
        worker.clock.step_wall(DAY_MS + 7 * MINUTE_MS)
        service.fail("GetRecords", *[trimmed] * 15)
        await worker.clock.advance(30)

    assert state.texts == ["a", "b"], "what the trim horizon brings again is not handed out again"
    (gap_ms,) = worker.noted.gaps_ms
    assert read_through_ms is not None
    assert gap_ms == pytest.approx(7 * MINUTE_MS, abs=30_000)


async def test_an_idle_shard_that_is_far_behind_is_not_taken_for_trimmed(
    worker: Worker, service: FakeKinesis
) -> None:
    service.put(FIRST, "a")
    idle = (200, {"Records": [], "MillisBehindLatest": DAY_MS // 2, "NextShardIterator": "x/0/0"})
    async with worker.reading(State()):
        await worker.clock.advance(5)
        service.fail("GetRecords", *[lambda _: idle] * 100)
        await worker.clock.advance(60)

    assert worker.noted.gaps_ms == []


async def test_a_stream_made_anew_under_the_same_name_ends_reading_and_says_so(
    worker: Worker, service: FakeKinesis
) -> None:
    async def story() -> None:
        async with worker.reading(State()):
            await worker.clock.advance(10)
            service.created_ms = CREATED_MS + 1_000
            await worker.clock.advance(60)

    with pytest.raises(StreamRecreated, match="deleted and created again"):
        await story()


async def test_a_refused_position_of_a_stream_made_anew_is_not_called_trimmed(
    worker: Worker, service: FakeKinesis
) -> None:
    service.put(FIRST, "a")

    async def story() -> None:
        async with worker.reading(State()):
            await worker.clock.advance(2)
            service.created_ms = CREATED_MS + 1_000
            service.fail("GetRecords", "ExpiredIteratorException")
            service.fail("GetShardIterator", *["InvalidArgumentException"] * 3)
            await worker.clock.advance(5)

    with pytest.raises(StreamRecreated):
        await story()
    assert worker.noted.gaps_ms == []


async def test_a_deleted_stream_ends_reading_and_says_what_to_check(
    worker: Worker, service: FakeKinesis
) -> None:
    async def story() -> None:
        async with worker.reading(State()):
            await worker.clock.advance(2)
            service.created_ms = None
            await worker.clock.advance(5)

    with pytest.raises(StreamNotFound, match=r"'events'.*eu-west-1.*COMEBACK_STREAM"):
        await story()


async def test_a_stream_that_is_not_there_is_not_waited_for(
    worker: Worker, service: FakeKinesis
) -> None:
    service.created_ms = None

    assert isinstance(await worker.outcome(State(), 1), StreamNotFound)


async def test_a_shard_that_was_missing_from_one_listing_is_read_on(
    worker: Worker, service: FakeKinesis
) -> None:
    state = State()
    async with worker.reading(state):
        await worker.clock.advance(2)
        service.put(FIRST, "a")
        service.fail("GetRecords", "InvalidArgumentException")
        service.fail("GetShardIterator", "ResourceNotFoundException")
        service.fail("ListShards", lambda _: (200, {"Shards": []}))
        await worker.clock.advance(5)

    assert state.texts == ["a"]


async def test_a_start_in_the_future_is_waited_for_and_never_becomes_the_trim_horizon(
    worker: Worker, service: FakeKinesis
) -> None:
    """A clock that runs ahead of the service's makes LATEST such a start."""
    state = State()
    service.put(FIRST, "too early")
    async with worker.reading(state, start=worker.clock.now_ms() + 45_000):
        await worker.clock.advance(40)
        service.put(FIRST, "too early too")
        await worker.clock.advance(20)
        service.put(FIRST, "in time")
        await worker.clock.advance(60)

    assert state.texts == ["in time"]
    assert worker.noted.gaps_ms == []
