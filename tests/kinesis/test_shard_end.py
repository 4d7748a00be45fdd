"""When a shard has ended, when it only looks so, and when it is gone."""

from __future__ import annotations

import pytest

from tests.kinesis.fake_kinesis import Body, FakeKinesis
from tests.kinesis.reading import State, Worker
from worker.model import Position

FIRST = "shardId-000000000000"


async def test_a_null_iterator_alone_does_not_end_a_shard(
    worker: Worker, service: FakeKinesis
) -> None:
    state = State()
    no_more = (200, {"Records": [], "MillisBehindLatest": 0})
    service.fail("GetRecords", *[lambda _: no_more] * 3)
    async with worker.reading(state):
        await worker.clock.advance(2)
        service.put(FIRST, "a")
        await worker.clock.advance(10)

    assert state.texts == ["a"]
    assert not state.positions[FIRST].ended
    assert len({call["ShardIterator"] for call in service.calls_of("GetRecords")[:4]}) == 1


async def test_a_shard_missing_from_the_list_is_let_go_but_not_marked_as_ended(
    worker: Worker, service: FakeKinesis
) -> None:
    state = State()
    service.put(FIRST, "a")

    def the_last(request: Body) -> tuple[int, Body | bytes]:
        _, body = service.answer("GetRecords", request)
        assert isinstance(body, dict)
        return 200, body | {"NextShardIterator": None}

    service.fail("GetRecords", the_last)
    nothing: Body = {"Shards": []}
    service.fail(
        "ListShards", lambda one: service.answer("ListShards", one), lambda _: (200, nothing)
    )
    async with worker.reading(state):
        await worker.clock.advance(1)
        assert len(service.calls_of("ListShards")) == 3
        assert state.texts == ["a"]
        assert not state.positions[FIRST].ended
        service.put(FIRST, "b")
        await worker.clock.advance(60)

    assert state.texts == ["a", "b"], "and it is read on when the list shows it again"


@pytest.mark.parametrize("parents", [[], None, ["shardId-000000000099"]])
async def test_children_that_do_not_name_the_shard_do_not_end_it(
    worker: Worker, service: FakeKinesis, parents: list[str] | None
) -> None:
    state = State()
    child = {"ShardId": "shardId-000000000007", "ParentShards": parents}
    strange = (200, {"Records": [], "MillisBehindLatest": 0, "ChildShards": [child]})
    service.fail("GetRecords", *[lambda _: strange] * 3)
    async with worker.reading(state):
        await worker.clock.advance(1)
        assert not state.positions[FIRST].ended
        service.put(FIRST, "a")
        await worker.clock.advance(10)

    assert state.texts == ["a"]


async def test_children_beside_an_iterator_do_not_end_the_shard(
    worker: Worker, service: FakeKinesis
) -> None:
    state = State()
    service.put(FIRST, "a")
    child = {"ShardId": "shardId-000000000007", "ParentShards": [FIRST]}
    strange = {"Records": [], "NextShardIterator": "x/0/0", "ChildShards": [child]}
    service.fail("GetRecords", *[lambda _: (200, strange)] * 3)
    async with worker.reading(state):
        await worker.clock.advance(10)

    assert state.texts == ["a"]
    assert not state.positions[FIRST].ended


async def test_a_shard_that_expired_unread_is_counted_and_holds_nobody_up(
    worker: Worker, service: FakeKinesis
) -> None:
    state = State()
    left, right = service.split(FIRST)
    service.put(left, "a")
    del service.shards[FIRST]
    state.positions[FIRST] = Position(shard_id=FIRST, sequence_number="5")
    async with worker.reading(state) as reading:
        await worker.clock.advance(3)
        assert [status.shard_id for status in reading.source.shards()] == [left, right]

    assert state.texts == ["a"]
    assert worker.noted.gaps_ms == [None]


async def test_a_shard_that_expires_while_it_is_read_is_counted_and_let_go(
    worker: Worker, service: FakeKinesis
) -> None:
    left, right = service.split(FIRST)
    service.answer_records = 1
    service.put(FIRST, *"abcdefghij")
    service.put(left, "child")
    state = State()
    async with worker.reading(state) as reading:
        await worker.clock.advance(0.5)
        del service.shards[FIRST]
        await worker.clock.advance(10)
        assert [status.shard_id for status in reading.source.shards()] == [left, right]
        assert reading.source.watermark_ms() is not None

    assert state.texts[-1] == "child"
    assert worker.noted.gaps_ms == [None]
