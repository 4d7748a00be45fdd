"""What single calls may run into, and what the reader does then."""

from __future__ import annotations

import base64
import itertools

import pytest
from structlog.testing import capture_logs

from tests.kinesis.aggregate import aggregate
from tests.kinesis.fake_kinesis import FakeKinesis, Special, disconnect, error
from tests.kinesis.reading import State, Worker
from worker.errors import AccessDenied
from worker.kinesis.faults import CODES, Kind, KinesisFault

FIRST = "shardId-000000000000"


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

    assert [line["event"] for line in logs] == ["kinesis_trouble", "kinesis_trouble_over"]


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
    assert [line["event"] for line in logs] == ["kinesis_trouble", "kinesis_trouble_over"]


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
