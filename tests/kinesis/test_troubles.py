"""What the service may do to a reader, and what the reader does then."""

from __future__ import annotations

import base64
import itertools

import pytest
from structlog.testing import capture_logs

from tests.kinesis.aggregate import aggregate
from tests.kinesis.fake_kinesis import CREATED_MS, Body, FakeKinesis, Special, disconnect, error
from tests.kinesis.reading import State, Worker
from worker.errors import AccessDenied, StreamNotFound, StreamRecreated
from worker.kinesis.faults import CODES, Kind, KinesisFault
from worker.model import DAY_MS, MINUTE_MS, Position

FIRST = "shardId-000000000000"


def events(logs: list[dict[str, object]]) -> list[str]:
    return [str(line["event"]) for line in logs]


@pytest.mark.parametrize(
    "trouble",
    [
        "ProvisionedThroughputExceededException",
        "LimitExceededException",
        "KMSThrottlingException",
        "KMSDisabledException",
        "KMSAccessDeniedException",
        "InternalFailureException",
        pytest.param(error("ServiceUnavailable", 503), id="503"),
        pytest.param(lambda _: (502, b"<html>bad gateway</html>"), id="502 of a proxy"),
        pytest.param(error("SomethingNewException"), id="a code nobody knows"),
        pytest.param(disconnect, id="a broken connection"),
    ],
)
async def test_a_call_that_fails_is_made_again_with_the_same_iterator(
    worker: Worker, service: FakeKinesis, trouble: str | Special
) -> None:
    state = State()
    service.put(FIRST, "a", "b")
    service.fail("GetRecords", trouble, trouble, trouble)
    async with worker.reading(state):
        await worker.clock.advance(60)

    assert state.texts == ["a", "b"]
    assert len(worker.noted.failures) == 3
    assert {code for _, code in worker.noted.failures} <= set(CODES)
    iterators = [call["ShardIterator"] for call in service.calls_of("GetRecords")]
    assert len(set(iterators[:4])) == 1


async def test_pauses_grow_while_a_call_keeps_failing(worker: Worker, service: FakeKinesis) -> None:
    service.fail("GetRecords", *["ProvisionedThroughputExceededException"] * 8)
    async with worker.reading(State()):
        await worker.clock.advance(60)

    times = [at for name, _, at in service.calls if name == "GetRecords"]
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert pauses[:8] == pytest.approx([1, 2, 4, 8, 10, 10, 10, 10])


async def test_throttles_are_counted_and_other_troubles_told_once_and_when_over(
    worker: Worker, service: FakeKinesis
) -> None:
    service.fail("GetRecords", *["ProvisionedThroughputExceededException"] * 3)
    service.fail("GetRecords", *["KMSDisabledException"] * 3, *["InternalFailureException"] * 3)
    with capture_logs() as logs:
        async with worker.reading(State()):
            await worker.clock.advance(600)

    told = [(line["event"], line["code"], line["log_level"]) for line in logs]
    assert told == [
        ("kinesis_trouble", "KMSDisabledException", "error"),
        ("kinesis_trouble", "InternalFailureException", "warning"),
        ("kinesis_trouble_over", "InternalFailureException", "info"),
    ]
    assert len(worker.noted.failures) == 9


async def test_a_trouble_of_many_shards_is_told_once(worker: Worker, service: FakeKinesis) -> None:
    for _ in range(9):
        service.add_shard()
    service.fail("GetRecords", *[disconnect] * 30)
    with capture_logs() as logs:
        async with worker.reading(State()):
            await worker.clock.advance(60)

    assert events(list(map(dict, logs))) == ["kinesis_trouble", "kinesis_trouble_over"]


async def test_an_expired_iterator_is_made_anew_behind_the_last_record(
    worker: Worker, service: FakeKinesis
) -> None:
    state = State()
    service.put(FIRST, "a")
    async with worker.reading(state):
        await worker.clock.advance(5)
        service.put(FIRST, "b")
        service.fail("GetRecords", "ExpiredIteratorException")
        await worker.clock.advance(5)

    assert state.texts == ["a", "b"]
    assert worker.noted.rebuilt == [True]
    assert service.calls_of("GetShardIterator")[-1]["ShardIteratorType"] == "AFTER_SEQUENCE_NUMBER"


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
    assert events(list(map(dict, logs))) == ["records_possibly_lost"]


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


@pytest.mark.parametrize(
    "operation", ["DescribeStreamSummary", "ListShards", "GetShardIterator", "GetRecords"]
)
async def test_a_missing_permission_at_the_start_names_the_action(
    worker: Worker, service: FakeKinesis, operation: str
) -> None:
    service.fail(operation, "AccessDeniedException")

    problem = await worker.outcome(State(), 1)

    assert isinstance(problem, AccessDenied)
    assert f"kinesis:{operation}" in str(problem)
    assert problem.exit_code == 78


async def test_a_permission_that_is_taken_away_later_is_waited_for(
    worker: Worker, service: FakeKinesis
) -> None:
    state = State()
    async with worker.reading(state) as reading:
        await worker.clock.advance(2)
        service.put(FIRST, "a")
        denied = ["AccessDeniedException"] * 5
        service.fail("GetRecords", *denied)
        service.fail("ListShards", *denied)
        await worker.clock.advance(35)
        (status,) = reading.source.shards()
        assert (status.state, state.texts) == ("forbidden", [])
        assert (status.lag_ms or 0) > 30_000
        await worker.clock.advance(300)

    assert state.texts == ["a"]


async def test_the_network_may_come_up_after_the_worker(
    worker: Worker, service: FakeKinesis
) -> None:
    state = State()
    service.put(FIRST, "a")
    service.fail("DescribeStreamSummary", *[disconnect] * 10)
    with capture_logs() as logs:
        async with worker.reading(state):
            await worker.clock.advance(120)

    assert state.texts == ["a"]
    assert events(list(map(dict, logs))) == ["kinesis_trouble", "kinesis_trouble_over"]


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
    nothing = (200, {"Shards": []})
    service.fail("ListShards", lambda one: service.answer("ListShards", one), lambda _: nothing)
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


async def test_a_listing_goes_on_by_its_token_alone(worker: Worker, service: FakeKinesis) -> None:
    service.page_shards = 3
    shards = [FIRST, *(service.add_shard() for _ in range(9))]
    for shard in shards:
        service.put(shard, shard)
    state = State()
    async with worker.reading(state):
        await worker.clock.advance(3)

    assert sorted(state.texts) == shards
    assert {tuple(call) for call in service.calls_of("ListShards")} == {
        ("StreamName",),
        ("NextToken",),
    }


async def test_a_stream_named_by_its_arn_is_addressed_by_it_everywhere(
    worker: Worker, service: FakeKinesis
) -> None:
    arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/events"
    async with worker.reading(State(), stream=arn) as reading:
        await worker.clock.advance(3)
        assert reading.batches[0].stream.name == "events"

    assert all(call.get("StreamARN") == arn for _, call, _ in service.calls)


async def test_aggregates_are_taken_apart_and_counted(worker: Worker, service: FakeKinesis) -> None:
    state = State()
    packed = aggregate([("k", b"a"), ("l", b"b")])
    service.put(FIRST, "packed", Data=base64.b64encode(packed).decode())
    service.put(FIRST, "c")
    async with worker.reading(state) as reading:
        await worker.clock.advance(2)

    assert state.texts == ["a", "b", "c"]
    assert [record.partition_key for record in reading.batches[-1].records] == ["k", "l", "key"]
    assert worker.noted.aggregates == [2]
    assert worker.noted.records == 2


async def test_what_a_reader_dies_of_comes_out_of_batches(
    worker: Worker, service: FakeKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(worker.noted, "answered", broken)

    assert isinstance(await worker.outcome(State(), 5), ZeroDivisionError)


@pytest.mark.parametrize("kind", list(Kind))
def test_every_pause_is_bounded(kind: Kind) -> None:
    fault = next(
        fault
        for fault in (KinesisFault(operation="GetRecords", code=code) for code in CODES)
        if fault.kind is kind
    )
    pauses = [fault.pause_seconds(attempt) for attempt in (1, 2, 3, 1_000_000)]

    assert pauses == sorted(pauses)
    assert 0 < pauses[0] < pauses[-1] <= 60
