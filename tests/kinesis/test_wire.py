"""GetRecords bodies, decoded the fast way and botocore's way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.kinesis.fake_kinesis import FakeKinesis
from tests.kinesis.reading import Noted, State, Worker
from worker.kinesis import wire
from worker.kinesis.faults import KinesisFault
from worker.kinesis.wire import CANNED_BODY, KEY, Answer, FastPath, decode

FIRST = "shardId-000000000000"


def hooked(body: bytes, status_code: int = 200) -> Mapping[str, Any]:
    """What the client returns once the hook has seen a body."""
    custom: dict[str, Any] = {}
    decode({"status_code": status_code, "body": body}, custom)
    return custom


def record(**fields: Any) -> bytes:
    return json.dumps({"Records": [{"SequenceNumber": "1", "Data": "YQ==", **fields}]}).encode()


def answer_of(body: bytes) -> Answer:
    return FastPath(Noted()).answer_of(hooked(body))


async def test_the_hook_and_botocore_read_the_canned_answer_alike(client: Any) -> None:
    noted = Noted()
    fast_path = FastPath(noted)
    await fast_path.install(client)

    assert fast_path.off_reason is None
    assert noted.fast == [True]


def test_every_field_of_an_answer_is_read() -> None:
    answer = answer_of(CANNED_BODY)

    first, second, third = answer.records
    assert (first.sequence_number, first.data, first.partition_key) == ("49601", b'{"a":1}', "kü")
    assert first.approximate_arrival_timestamp == 1_795_341_234.764
    assert (second.data, second.partition_key) == (b"", None)
    assert (third.data, third.approximate_arrival_timestamp) == (b"\x00\x01\x02\x03", None)
    assert answer.millis_behind_latest == 1_500
    assert answer.next_shard_iterator is None
    (child,) = answer.child_shards or ()
    assert child.parent_shards == (FIRST,)


def test_a_field_without_value_may_be_absent_or_null() -> None:
    nulls = {"NextShardIterator": None, "MillisBehindLatest": None, "ChildShards": None}

    assert answer_of(b'{"Records": []}') == answer_of(json.dumps({"Records": [], **nulls}).encode())


def test_half_a_surrogate_pair_in_a_partition_key_stops_nobody() -> None:
    (one,) = answer_of(record(PartitionKey="\ud800")).records

    assert one.data == b"a"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"<html>", id="a page"),
        pytest.param(b'{"Records": [{"Sequ', id="half an answer"),
        pytest.param(b"{}", id="no records"),
        pytest.param(b"[]", id="a list"),
        pytest.param(record(Data="%%%%"), id="no base64"),
        pytest.param(record(Data="YQ="), id="base64 cut off"),
        pytest.param(record(SequenceNumber=None), id="no sequence number"),
        pytest.param(b'{"Records": [], "MillisBehindLatest": "soon"}', id="wrong type"),
        pytest.param(b'{"Records": ["\xff"]}', id="not UTF-8"),
    ],
)
def test_a_body_that_is_no_answer_is_a_failed_call(body: bytes) -> None:
    with pytest.raises(KinesisFault) as caught:
        answer_of(body)

    assert caught.value.code == "InvalidBody"


def test_error_answers_are_left_to_botocore() -> None:
    assert hooked(b'{"__type": "ExpiredIteratorException"}', 400) == {}
    assert hooked(b"", 503) == {}


async def test_a_hook_that_reads_amiss_is_taken_off_loudly_and_reading_goes_on(
    worker: Worker, service: FakeKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = Answer(records=())
    monkeypatch.setattr(
        wire,
        "decode",
        lambda customized_response_dict, **_: customized_response_dict.update({KEY: empty}),
    )
    state = State()
    service.put(FIRST, "a", "b")
    left, _ = service.split(FIRST)
    service.put(left, "c", PartitionKey=None)
    with capture_logs() as logs:
        async with worker.reading(state):
            await worker.clock.advance(3)

    assert state.texts == ["a", "b", "c"]
    assert worker.noted.fast == [False]
    (line,) = [line for line in logs if line["event"] == "kinesis_fast_path_off"]
    assert line["log_level"] == "error"
    assert "differ" in line["reason"]


async def test_a_hook_that_stops_firing_is_told_once_and_reading_goes_on(
    worker: Worker, service: FakeKinesis, client: Any
) -> None:
    state = State()
    service.put(FIRST, "a")
    with capture_logs() as logs:
        async with worker.reading(state):
            client.meta.events.unregister(wire.EVENT, decode, unique_id=KEY)
            service.put(FIRST, "b")
            await worker.clock.advance(10)

    assert state.texts == ["a", "b"]
    assert worker.noted.fast == [True, False]
    assert [line["event"] for line in logs].count("kinesis_fast_path_off") == 1
