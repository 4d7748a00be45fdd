"""The local Kinesis over the wire, driven by the AWS client that everybody uses, as it comes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import aiohttp
import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import ClientError, HTTPClientError

from worker.sandbox.kinesis import KinesisServer
from worker.sandbox.kinesis_faults import Call, Fault, FaultScript

Client: TypeAlias = Any

NOW_MS = 1_790_000_000_123
FIRST = "shardId-000000000000"


class HandClock:
    """A time that moves when told to."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def server(clock: HandClock) -> AsyncIterator[KinesisServer]:
    server = KinesisServer(now_ms=clock)
    yield server
    await server.stop()


@pytest.fixture
async def url(server: KinesisServer) -> str:
    return await server.start()


def client_at(url: str) -> Client:
    return get_session().create_client(
        "kinesis",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
        config=AioConfig(retries={"total_max_attempts": 1}, read_timeout=5),
    )


@pytest.fixture
async def client(url: str) -> AsyncIterator[Client]:
    async with client_at(url) as client:
        yield client


async def iterator_of(client: Client, shard_id: str = FIRST, **where: Any) -> str:
    kind = where.pop("kind", "TRIM_HORIZON")
    answer = await client.get_shard_iterator(
        StreamName="events", ShardId=shard_id, ShardIteratorType=kind, **where
    )
    return str(answer["ShardIterator"])


async def read_shard(client: Client, shard_id: str, **where: Any) -> tuple[list[Any], list[str]]:
    """All records of a shard, and the children it ended with."""
    iterator: str | None = await iterator_of(client, shard_id, **where)
    records: list[Any] = []
    while iterator is not None:
        answer = await client.get_records(ShardIterator=iterator, Limit=7)
        records += answer["Records"]
        iterator = answer.get("NextShardIterator")
        assert (iterator is None) == ("ChildShards" in answer)
        if iterator is not None and answer["MillisBehindLatest"] == 0:
            return records, []
    return records, [child["ShardId"] for child in answer["ChildShards"]]


async def refused_as(call: Awaitable[Any]) -> str:
    with pytest.raises(ClientError) as caught:
        await call
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    return str(caught.value.response["Error"]["Code"])


# --- records ----------------------------------------------------------------------------------


async def test_what_is_put_is_read_back_in_order_with_its_key_and_time(client: Client) -> None:
    await client.create_stream(StreamName="events", ShardCount=1)
    first = await client.put_record(StreamName="events", Data=b"\x00\xffone", PartitionKey="user")
    more = await client.put_records(
        StreamName="events",
        Records=[{"Data": f"{n}".encode(), "PartitionKey": "user"} for n in range(20)],
    )
    records, children = await read_shard(client, FIRST)
    assert [record["Data"] for record in records] == [
        b"\x00\xffone",
        *(f"{n}".encode() for n in range(20)),
    ]
    assert {record["PartitionKey"] for record in records} == {"user"}
    assert records[0]["SequenceNumber"] == first["SequenceNumber"]
    assert records[1]["SequenceNumber"] == more["Records"][0]["SequenceNumber"]
    assert more["FailedRecordCount"] == 0
    arrival = records[0]["ApproximateArrivalTimestamp"]
    assert arrival == datetime.fromtimestamp(NOW_MS / 1_000, UTC)
    assert children == []


async def test_an_explicit_hash_key_overrules_the_partition_key(client: Client) -> None:
    await client.create_stream(StreamName="events", ShardCount=2)
    for hash_key, shard_id in (("0", FIRST), (str(2**128 - 1), "shardId-000000000001")):
        placed = await client.put_record(
            StreamName="events", Data=b"x", PartitionKey="same", ExplicitHashKey=hash_key
        )
        assert placed["ShardId"] == shard_id


async def test_a_record_put_in_process_without_a_key_is_read_without_one(
    client: Client, server: KinesisServer
) -> None:
    server.create_stream("events").put(b"x", partition_key=None, now_ms=NOW_MS)
    records, _ = await read_shard(client, FIRST)
    assert "PartitionKey" not in records[0]


async def test_positions_are_taken_up_by_number_and_by_time(
    client: Client, server: KinesisServer, clock: HandClock
) -> None:
    stream = server.create_stream("events")
    placed = [stream.put(b"%d" % n, partition_key="k", now_ms=NOW_MS) for n in range(3)]
    clock.now_ms += 5_000
    stream.put(b"late", partition_key="k", now_ms=clock.now_ms)
    number = placed[1].sequence_number
    later = datetime.fromtimestamp(NOW_MS / 1_000, UTC) + timedelta(seconds=2)

    async def texts(**where: Any) -> list[bytes]:
        records, _ = await read_shard(client, FIRST, **where)
        return [record["Data"] for record in records]

    assert await texts(kind="AT_SEQUENCE_NUMBER", StartingSequenceNumber=number) == [
        b"1",
        b"2",
        b"late",
    ]
    assert await texts(kind="AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=number) == [
        b"2",
        b"late",
    ]
    assert await texts(kind="AT_TIMESTAMP", Timestamp=later) == [b"late"]
    assert await texts(kind="LATEST") == []


async def test_time_moves_lag_iterators_and_retention(
    client: Client, server: KinesisServer, clock: HandClock
) -> None:
    server.create_stream("events").put(b"old", partition_key="k", now_ms=NOW_MS)
    server.stream("events").put(b"new", partition_key="k", now_ms=NOW_MS + 60_000)
    clock.now_ms += 90_000
    iterator = await iterator_of(client)
    answer = await client.get_records(ShardIterator=iterator, Limit=1)
    assert answer["MillisBehindLatest"] == 90_000
    clock.now_ms += 300_001
    assert await refused_as(client.get_records(ShardIterator=iterator)) == (
        "ExpiredIteratorException"
    )
    clock.now_ms = NOW_MS + 86_400_001
    records, _ = await read_shard(client, FIRST)
    assert [record["Data"] for record in records] == [b"new"]


# --- shards and streams -----------------------------------------------------------------------


async def test_a_split_and_a_merge_tell_parents_and_children(client: Client) -> None:
    await client.create_stream(StreamName="events", ShardCount=1)
    await client.put_record(StreamName="events", Data=b"before", PartitionKey="k")
    await client.split_shard(
        StreamName="events", ShardToSplit=FIRST, NewStartingHashKey=str(2**127)
    )
    await client.merge_shards(
        StreamName="events",
        ShardToMerge="shardId-000000000001",
        AdjacentShardToMerge="shardId-000000000002",
    )
    await client.put_record(StreamName="events", Data=b"after", PartitionKey="k")
    shards = (await client.list_shards(StreamName="events"))["Shards"]
    assert [(s.get("ParentShardId"), s.get("AdjacentParentShardId")) for s in shards] == [
        (None, None),
        (FIRST, None),
        (FIRST, None),
        ("shardId-000000000001", "shardId-000000000002"),
    ]
    assert ["EndingSequenceNumber" in s["SequenceNumberRange"] for s in shards] == [
        True,
        True,
        True,
        False,
    ]
    assert shards[3]["HashKeyRange"] == {
        "StartingHashKey": "0",
        "EndingHashKey": str(2**128 - 1),
    }
    seen = {s["ShardId"]: await read_shard(client, s["ShardId"]) for s in shards}
    assert [len(records) for records, _ in seen.values()] == [1, 0, 0, 1]
    assert seen[FIRST][1] == ["shardId-000000000001", "shardId-000000000002"]
    assert seen["shardId-000000000002"][1] == ["shardId-000000000003"]


async def test_shards_come_in_pages_and_a_token_goes_alone(client: Client) -> None:
    await client.create_stream(StreamName="events", ShardCount=5)
    pages = [await client.list_shards(StreamName="events", MaxResults=2)]
    while "NextToken" in pages[-1]:
        pages.append(await client.list_shards(NextToken=pages[-1]["NextToken"], MaxResults=2))
    assert [len(page["Shards"]) for page in pages] == [2, 2, 1]
    token = pages[0]["NextToken"]
    assert await refused_as(client.list_shards(StreamName="events", NextToken=token)) == (
        "InvalidArgumentException"
    )
    after = await client.list_shards(
        StreamName="events", ExclusiveStartShardId="shardId-000000000003"
    )
    assert [shard["ShardId"] for shard in after["Shards"]] == ["shardId-000000000004"]
    filtered = await client.list_shards(
        StreamName="events",
        ShardFilter={"Type": "AFTER_SHARD_ID", "ShardId": "shardId-000000000002"},
    )
    assert len(filtered["Shards"]) == 2


async def test_the_shard_count_doubles_and_halves_through_lineage(client: Client) -> None:
    await client.create_stream(StreamName="events", ShardCount=2)
    for target in (4, 2):
        answer = await client.update_shard_count(
            StreamName="events", TargetShardCount=target, ScalingType="UNIFORM_SCALING"
        )
        assert answer["TargetShardCount"] == target
        open_shards = await client.list_shards(
            StreamName="events", ShardFilter={"Type": "AT_LATEST"}
        )
        assert len(open_shards["Shards"]) == target
    assert len((await client.list_shards(StreamName="events"))["Shards"]) == 8


async def test_a_recreated_stream_has_another_birth_and_refuses_old_numbers(
    client: Client, clock: HandClock
) -> None:
    await client.create_stream(StreamName="events")
    placed = await client.put_record(StreamName="events", Data=b"x", PartitionKey="k")
    iterator = await iterator_of(client)
    born = (await client.describe_stream_summary(StreamName="events"))["StreamDescriptionSummary"]
    assert (born["StreamStatus"], born["OpenShardCount"]) == ("ACTIVE", 1)
    assert born["RetentionPeriodHours"] == 24

    await client.delete_stream(StreamName="events")
    assert await refused_as(client.get_records(ShardIterator=iterator)) == (
        "ResourceNotFoundException"
    )
    clock.now_ms += 60_000
    await client.create_stream(StreamName="events")
    reborn = (await client.describe_stream_summary(StreamName="events"))["StreamDescriptionSummary"]
    age = reborn["StreamCreationTimestamp"] - born["StreamCreationTimestamp"]
    assert age == timedelta(minutes=1)
    assert await refused_as(client.get_records(ShardIterator=iterator)) == (
        "ResourceNotFoundException"
    )
    old_position = {
        "kind": "AFTER_SEQUENCE_NUMBER",
        "StartingSequenceNumber": placed["SequenceNumber"],
    }
    assert await refused_as(iterator_of(client, **old_position)) == "InvalidArgumentException"
    listed = await client.list_shards(
        StreamName="events", StreamCreationTimestamp=reborn["StreamCreationTimestamp"]
    )
    assert len(listed["Shards"]) == 1
    assert (
        await refused_as(
            client.list_shards(
                StreamName="events", StreamCreationTimestamp=born["StreamCreationTimestamp"]
            )
        )
        == "ResourceNotFoundException"
    )


async def test_a_stream_is_reached_by_its_arn_for_everything(client: Client) -> None:
    await client.create_stream(StreamName="events")
    summary = await client.describe_stream_summary(StreamName="events")
    arn = summary["StreamDescriptionSummary"]["StreamARN"]
    await client.put_record(StreamARN=arn, Data=b"x", PartitionKey="k")
    iterator = await client.get_shard_iterator(
        StreamARN=arn, ShardId=FIRST, ShardIteratorType="TRIM_HORIZON"
    )
    answer = await client.get_records(StreamARN=arn, ShardIterator=iterator["ShardIterator"])
    assert len(answer["Records"]) == 1


async def test_streams_are_listed_in_pages(client: Client) -> None:
    for name in ("c", "a", "b"):
        await client.create_stream(StreamName=name)
    page = await client.list_streams(Limit=2)
    assert (page["StreamNames"], page["HasMoreStreams"]) == (["a", "b"], True)
    page = await client.list_streams(NextToken=page["NextToken"])
    assert (page["StreamNames"], page["HasMoreStreams"]) == (["c"], False)


# --- refusals ---------------------------------------------------------------------------------


async def test_what_makes_no_sense_is_refused_by_its_aws_name(client: Client) -> None:
    await client.create_stream(StreamName="events")
    in_use = client.create_stream(StreamName="events")
    assert await refused_as(in_use) == "ResourceInUseException"
    missing = client.describe_stream_summary(StreamName="nothing")
    assert await refused_as(missing) == "ResourceNotFoundException"
    garbage = client.get_records(ShardIterator="garbage")
    assert await refused_as(garbage) == "InvalidArgumentException"
    too_many = client.get_records(ShardIterator=await iterator_of(client), Limit=10_001)
    assert await refused_as(too_many) == "InvalidArgumentException"
    nameless = client.list_shards()
    assert await refused_as(nameless) == "InvalidArgumentException"
    no_such_shard = iterator_of(client, "shardId-000000000009")
    assert await refused_as(no_such_shard) == "ResourceNotFoundException"
    on_demand = client.create_stream(
        StreamName="other", StreamModeDetails={"StreamMode": "ON_DEMAND"}
    )
    assert await refused_as(on_demand) == "InvalidArgumentException"


@pytest.mark.parametrize(
    ("operation", "body", "code"),
    [
        ("PutRecord", '{"StreamName": "events", "PartitionKey": "k"}', "ValidationException"),
        ("PutRecord", '{"StreamName": "events", "Data": "eA=="}', "ValidationException"),
        (
            "PutRecord",
            '{"StreamName": "events", "PartitionKey": "k", "Data": "%"}',
            "SerializationException",
        ),
        ("CreateStream", '{"StreamName": "no spaces"}', "ValidationException"),
        ("CreateStream", '{"StreamName": "other", "ShardCount": "2"}', "ValidationException"),
        ("CreateStream", '{"StreamName": "other", "Colour": "red"}', "ValidationException"),
        (
            "GetShardIterator",
            '{"StreamName": "events", "ShardId": "s", "ShardIteratorType": "NEWEST"}',
            "ValidationException",
        ),
        (
            "ListShards",
            '{"StreamName": "events", "StreamCreationTimestamp": "noon"}',
            "ValidationException",
        ),
        ("ListShards", "[]", "SerializationException"),
        ("ListShards", "{", "SerializationException"),
        ("PutRecords", '{"StreamName": "events", "Records": []}', "ValidationException"),
        (
            "PutRecords",
            '{"StreamName": "events", "Records": ['
            + ", ".join(['{"Data": "", "PartitionKey": "k"}'] * 501)
            + "]}",
            "ValidationException",
        ),
        ("DescribeLimits", "{}", "UnknownOperationException"),
    ],
)
async def test_a_request_the_service_model_forbids_is_refused_and_changes_nothing(
    url: str, server: KinesisServer, operation: str, body: str, code: str
) -> None:
    stream = server.create_stream("events")
    headers = {"X-Amz-Target": f"Kinesis_20131202.{operation}"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=body, headers=headers) as response,
    ):
        answer = await response.json(content_type="application/x-amz-json-1.1")
        assert (response.status, answer["__type"]) == (400, code)
        assert answer["message"]
    assert stream.open_shards[0].records == []


# --- faults -----------------------------------------------------------------------------------


async def test_a_script_plays_errors_cut_connections_and_cut_bodies_in_its_order(
    client: Client, server: KinesisServer
) -> None:
    server.create_stream("events").put(b"x" * 1_000, partition_key="k", now_ms=NOW_MS)
    server.faults = script = FaultScript(
        GetRecords=[
            None,
            Fault(error="ProvisionedThroughputExceededException"),
            Fault(error="InternalFailure", status=500),
            Fault(drop=True),
            Fault(truncate_bytes=100),
        ]
    )
    iterator = await iterator_of(client)
    assert len((await client.get_records(ShardIterator=iterator))["Records"]) == 1
    assert await refused_as(client.get_records(ShardIterator=iterator)) == (
        "ProvisionedThroughputExceededException"
    )
    with pytest.raises(ClientError) as caught:
        await client.get_records(ShardIterator=iterator)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    for _ in ("drop", "truncate"):
        with pytest.raises(HTTPClientError):
            await client.get_records(ShardIterator=iterator)
    assert script.is_played
    assert len((await client.get_records(ShardIterator=iterator))["Records"]) == 1
    assert server.calls("GetRecords", FIRST) == 6


async def test_a_dropped_put_was_not_done_and_a_truncated_one_was(
    client: Client, server: KinesisServer
) -> None:
    stream = server.create_stream("events")
    server.faults = FaultScript(PutRecord=[Fault(drop=True), Fault(truncate_bytes=0)])
    for stored in (0, 1):
        with pytest.raises(HTTPClientError):
            await client.put_record(StreamName="events", Data=b"x", PartitionKey="k")
        assert len(stream.open_shards[0].records) == stored


async def test_a_callable_is_asked_with_operation_shard_and_number_and_may_wait(
    client: Client, server: KinesisServer
) -> None:
    server.create_stream("events", shards=2)
    asked: list[Call] = []
    arrived, release = asyncio.Event(), asyncio.Event()

    async def hold_the_second(call: Call) -> Fault | None:
        asked.append(call)
        if call.number == 2:
            arrived.set()
            await release.wait()
        return Fault(delay_seconds=0.001)

    server.faults = hold_the_second
    await iterator_of(client)
    await iterator_of(client, "shardId-000000000001")
    held = asyncio.create_task(iterator_of(client))
    await arrived.wait()
    assert not held.done()
    release.set()
    await held
    assert asked == [
        Call(operation="GetShardIterator", shard_id=FIRST, number=1),
        Call(operation="GetShardIterator", shard_id="shardId-000000000001", number=1),
        Call(operation="GetShardIterator", shard_id=FIRST, number=2),
    ]


# --- as a process -----------------------------------------------------------------------------


async def test_the_process_says_where_it_listens_and_ends_on_sigterm() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker.sandbox.kinesis"),
        *("--stream", "events", "--shards", "3"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    url = (await process.stdout.readline()).decode().strip()
    async with client_at(url) as client:
        shards = (await client.list_shards(StreamName="events"))["Shards"]
    process.send_signal(signal.SIGTERM)
    rest = await process.stdout.read()
    assert (len(shards), rest, await process.wait()) == (3, b"", 0)


async def test_a_taken_port_ends_the_process_with_a_sentence(url: str) -> None:
    port = url.rpartition(":")[2]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker.sandbox.kinesis", "--port", port),
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONWARNINGS": "error"},
    )
    _, stderr = await process.communicate()
    assert process.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}".encode() in stderr
    assert b"Traceback" not in stderr
