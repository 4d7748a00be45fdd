"""The five places where consumers of Kinesis lose records, each as a story.

They are: a reshard while nobody reads, children opened at LATEST, a position that runs ahead of the
work, a poison record, and an old owner who writes after it has stopped.
"""

from __future__ import annotations

import pytest

from tests.kinesis.fake_kinesis import FakeKinesis
from tests.kinesis.reading import State, Worker
from worker.model import Position

FIRST = "shardId-000000000000"


@pytest.mark.parametrize("names_children", [True, False], ids=["ChildShards", "ListShards only"])
async def test_a_reshard_while_nobody_reads_loses_nothing_and_keeps_the_order(
    worker: Worker, service: FakeKinesis, names_children: bool
) -> None:
    service.names_children = names_children
    state = State()
    service.put(FIRST, "read before the stop")
    async with worker.reading(state):
        await worker.clock.advance(2)

    service.put(FIRST, "rest of the parent")
    left, right = service.split(FIRST)
    service.put(left, "left")
    # Much to read on the right, so that the merge child could be opened too early.
    service.answer_records = 1
    service.put(right, "right", "right", "right", "right")
    merged = service.add_shard(left, right)
    service.put(merged, "merged")
    async with worker.reading(state):
        await worker.clock.advance(10)

    assert state.texts[:2] == ["read before the stop", "rest of the parent"]
    assert sorted(state.texts[2:7]) == ["left", "right", "right", "right", "right"]
    assert state.texts[7:] == ["merged"]
    assert {name for name, position in state.positions.items() if position.ended} == {
        FIRST,
        left,
        right,
    }

    asked = len(service.calls_of("GetRecords"))
    async with worker.reading(state):
        await worker.clock.advance(2)
    shards = {
        call["ShardIterator"].split("/")[0] for call in service.calls_of("GetRecords")[asked:]
    }
    assert shards == {merged}, "what is at SHARD_END is never read again"


async def test_children_are_read_from_their_first_record_although_the_start_was_latest(
    worker: Worker, service: FakeKinesis
) -> None:
    state = State()
    service.put(FIRST, "old news")
    await worker.clock.advance(60)
    async with worker.reading(state, start="LATEST"):
        await worker.clock.advance(5)
        left, right = service.split(FIRST)
        for number in range(25):
            service.put(left, f"left {number}")
            service.put(right, f"right {number}")
        await worker.clock.advance(5)

    assert sorted(state.texts) == sorted(
        f"{side} {number}" for side in ("left", "right") for number in range(25)
    )
    asked = {call["ShardIteratorType"] for call in service.calls_of("GetShardIterator")}
    assert asked == {"AT_TIMESTAMP", "TRIM_HORIZON"}, "LATEST itself is never asked for"


async def test_a_crash_before_the_first_record_does_not_make_latest_later(
    worker: Worker, service: FakeKinesis
) -> None:
    state = State()
    async with worker.reading(state, start="LATEST"):
        await worker.clock.advance(1)
    assert state.positions[FIRST].start_at_ms is not None

    await worker.clock.advance(600)
    service.put(FIRST, "written while nobody read")
    await worker.clock.advance(600)
    async with worker.reading(state, start="LATEST"):
        await worker.clock.advance(1)

    assert state.texts == ["written while nobody read"]


async def test_no_shard_is_read_before_its_starting_point_is_durable(
    worker: Worker, service: FakeKinesis
) -> None:
    state = State()
    second = service.add_shard()
    async with worker.reading(state, start="LATEST", commits=False) as reading:
        await worker.clock.advance(60)
        assert [batch.records for batch in reading.batches] == [()]
        assert service.calls_of("GetShardIterator") == []

        reading.open_for_commits.set()
        await worker.clock.advance(2)
        assert state.positions.keys() == {FIRST, second}
        assert len(service.calls_of("GetShardIterator")) == 2


async def test_a_crash_between_two_starting_points_completes_the_same_start(
    worker: Worker, service: FakeKinesis
) -> None:
    second = service.add_shard()
    start = Position(shard_id=FIRST, start_at_ms=worker.clock.now_ms())
    state = State()
    state.positions = {FIRST: start}
    service.put(second, "written while nobody read")
    await worker.clock.advance(60)

    async with worker.reading(state, start="LATEST"):
        await worker.clock.advance(2)

    assert state.texts == ["written while nobody read"]


async def test_the_position_never_runs_ahead_of_what_was_committed(
    worker: Worker, service: FakeKinesis
) -> None:
    state = State()
    service.answer_records = 5
    service.put(FIRST, *(str(number) for number in range(20)))
    async with worker.reading(state) as reading:
        await worker.clock.advance(0.3)
        committed = list(state.texts)
        reading.open_for_commits.clear()
        await worker.clock.advance(60)
        handed_out = sum(len(batch.records) for batch in reading.batches)
        reading.crash()
    assert 0 < len(committed) == len(state.texts) < handed_out

    async with worker.reading(state):
        await worker.clock.advance(10)
    assert state.texts == [str(number) for number in range(20)], "nothing lost, nothing twice"


async def test_a_consumer_that_stalls_for_ten_minutes_loses_nothing(
    worker: Worker, service: FakeKinesis
) -> None:
    state = State()
    service.answer_records = 10
    service.put(FIRST, *(str(number) for number in range(100)))
    async with worker.reading(state) as reading:
        await worker.clock.advance(0.5)
        reading.open_for_commits.clear()
        await worker.clock.advance(600)
        reading.open_for_commits.set()
        await worker.clock.advance(10)

    assert state.texts == [str(number) for number in range(100)]
    assert worker.noted.failures == [], "the iterator was given up before it expired"
    assert worker.noted.rebuilt == [False]


async def test_an_answer_nobody_can_read_is_asked_for_again_and_never_passed_over(
    worker: Worker, service: FakeKinesis
) -> None:
    state = State()
    service.put(FIRST, "a", "b")
    bad_base64 = {"Records": [{"SequenceNumber": "1", "Data": "%"}], "MillisBehindLatest": 0}
    service.fail(
        "GetRecords",
        lambda _: (200, b"<html>not what you asked for</html>"),
        lambda _: (200, b'{"Records": [{"Seq'),
        lambda _: (200, {}),
        lambda _: (200, bad_base64),
    )
    async with worker.reading(state):
        await worker.clock.advance(30)

    assert state.texts == ["a", "b"]
    assert worker.noted.failures == [("GetRecords", "InvalidBody")] * 4
    iterators = [call["ShardIterator"] for call in service.calls_of("GetRecords")]
    assert len(set(iterators[:5])) == 1, "the same iterator until it was read"


async def test_a_record_that_makes_no_sense_is_handed_on_and_harms_no_other(
    worker: Worker, service: FakeKinesis
) -> None:
    state = State()
    service.put(FIRST, "before")
    service.put(FIRST, "", "}{", "\x00", PartitionKey=None, ApproximateArrivalTimestamp=None)
    service.put(FIRST, "after")
    async with worker.reading(state) as reading:
        await worker.clock.advance(2)

    assert state.texts == ["before", "", "}{", "\x00", "after"]
    (batch,) = reading.batches[1:]
    assert [record.partition_key for record in batch.records] == ["key", None, None, None, "key"]
    assert all(record.arrival_ms > 0 for record in batch.records)


async def test_after_stop_nothing_more_is_handed_out_and_the_batch_in_hand_still_counts(
    worker: Worker, service: FakeKinesis
) -> None:
    state = State()
    shards = [FIRST, *(service.add_shard() for _ in range(3))]
    state.positions = {shard: Position(shard_id=shard) for shard in shards}
    for shard in shards:
        service.put(shard, f"of {shard}")
    async with worker.reading(state, commits=False) as reading:
        await reading.source.stop()
        calls = len(service.calls)
        await worker.clock.advance(120)
        assert [batch.position.shard_id for batch in reading.batches] == [FIRST]

        reading.open_for_commits.set()
        await worker.clock.advance(120)
        assert reading.task.done()
    assert state.texts == [f"of {FIRST}"]
    assert len(service.calls) == calls, "a stopped source asks for nothing"

    async with worker.reading(state):
        await worker.clock.advance(5)
    assert sorted(state.texts) == [f"of {shard}" for shard in shards]
