"""GetRecords answers from bytes: msgspec through botocore's `before-parse` event.

botocore's own parser takes 15 us a record, most of it for timestamps; this takes 1.3. The event
`before-parse.kinesis.GetRecords` is supported (botocore "Event hooks"), fires once an answer, and
hands over the body before it is parsed. A body that is not an answer, or whose base64 is damaged
(botocore would quietly drop the damage), is a failed call. `self_test` compares both ways on a
canned answer before the first read; where they differ, botocore's parser is used.

Data comes from the client's HTTP body and goes, as an `Answer`, to `reader.py`. No records are
logged here, not even broken ones.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import structlog
from aiobotocore.parsers import create_parser

from worker.kinesis.faults import KinesisFault
from worker.kinesis.observer import SourceObserver

EVENT = "before-parse.kinesis.GetRecords"
KEY = "comeback.answer"
"""Where the hook leaves the decoded answer in the response; no field of AWS has a dot in it."""

log = structlog.get_logger()


class WireRecord(msgspec.Struct, frozen=True, rename="pascal", gc=False):
    """A stored record. AWS may leave out all but the first two (API reference, Record)."""

    sequence_number: str
    data: bytes
    approximate_arrival_timestamp: float | None = None
    """Seconds since the epoch."""
    partition_key: str | None = None
    encryption_type: str | None = None


class ChildShard(msgspec.Struct, frozen=True, rename="pascal"):
    """A shard that goes on where this one ends."""

    shard_id: str
    parent_shards: tuple[str, ...] | None = None


class Answer(msgspec.Struct, frozen=True, rename="pascal"):
    """One GetRecords answer. `next_shard_iterator` None: no more can be read from the shard.

    A field without value may be absent or null; kinesis-local writes all of them.
    """

    records: tuple[WireRecord, ...]
    next_shard_iterator: str | None = None
    millis_behind_latest: int | None = None
    child_shards: tuple[ChildShard, ...] | None = None


_decoder = msgspec.json.Decoder(Answer)
_UNREADABLE = (ValueError, RecursionError)


class FastPath:
    """The hook on one client, and whether it can be relied on."""

    def __init__(self, observer: SourceObserver) -> None:
        self._observer = observer
        self.off_reason: str | None = "not installed"
        """Why answers are decoded the slow way; None while they are not."""

    async def install(self, client: Any) -> None:
        """Puts the hook on the client, unless the self-test says that it reads amiss."""
        # The id keeps a second source on the same client from decoding twice.
        client.meta.events.register(EVENT, decode, unique_id=KEY)
        reason = await self_test(client)
        if reason is not None:
            client.meta.events.unregister(EVENT, decode, unique_id=KEY)
            self._turn_off(reason)
            return
        self.off_reason = None
        self._observer.fast_decode(on=True)

    def answer_of(self, response: Mapping[str, Any]) -> Answer:
        """The answer in what the client returned, whichever way it was decoded.

        Raises KinesisFault(InvalidBody) when it is none: botocore reads a broken body as an answer
        without fields, and that must not be taken for the end of a shard.
        """
        if KEY not in response:
            if self.off_reason is None:
                self._turn_off("the hook did not fire")
            return _from_botocore(response)
        answer = response[KEY]
        if not isinstance(answer, Answer):
            raise KinesisFault(operation="GetRecords", code="InvalidBody")
        return answer

    def _turn_off(self, reason: str) -> None:
        self.off_reason = reason
        self._observer.fast_decode(on=False)
        log.error("kinesis_fast_path_off", reason=reason, effect="reading costs ten times the CPU")


def decode(
    response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any
) -> None:
    """The hook. Answers other than 200 are left to botocore."""
    if response_dict["status_code"] != 200:
        return
    customized_response_dict[KEY] = _decode(response_dict["body"])
    response_dict["body"] = b"{}"


def _decode(body: bytes) -> Answer | None:
    try:
        return _decoder.decode(body)
    except _UNREADABLE:
        # A partition key may hold half a surrogate pair, which only the patient parser takes.
        try:
            return msgspec.convert(json.loads(body), Answer)
        except _UNREADABLE:
            return None


def _from_botocore(response: Mapping[str, Any]) -> Answer:
    """The same values from botocore's dictionaries, whose timestamps are datetimes."""
    try:
        return msgspec.convert(
            {**response, "Records": [_record(record) for record in response["Records"]]}, Answer
        )
    except (KeyError, msgspec.ValidationError) as error:
        raise KinesisFault(operation="GetRecords", code="InvalidBody") from error


def _record(record: Mapping[str, Any]) -> dict[str, Any]:
    arrival = record.get("ApproximateArrivalTimestamp")
    if arrival is None:
        return dict(record)
    return {**record, "ApproximateArrivalTimestamp": arrival.timestamp()}


CANNED_BODY = b"""{
  "Records": [
    {"SequenceNumber": "49601", "Data": "eyJhIjoxfQ==", "PartitionKey": "k\\u00fc",
     "ApproximateArrivalTimestamp": 1.795341234764E9, "EncryptionType": "KMS", "New": {"x": [1]}},
    {"SequenceNumber": "49602", "Data": "", "PartitionKey": null, "EncryptionType": null,
     "ApproximateArrivalTimestamp": 1795341235.25},
    {"SequenceNumber": "49603", "Data": "AAECAw=="}
  ],
  "NextShardIterator": null,
  "MillisBehindLatest": 1500,
  "ChildShards": [{"ShardId": "shardId-000000000001", "ParentShards": ["shardId-000000000000"],
    "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "1"}}]
}"""
"""Every optional field present, null and absent, an unknown field, the end of a shard."""


async def self_test(client: Any) -> str | None:
    """Reads a canned answer through botocore's parser and through the client's hooks.

    Answers None when both give the same, else what is wrong. Does no network I/O.
    """
    operation = client.meta.service_model.operation_model("GetRecords")
    parser = create_parser(client.meta.service_model.resolved_protocol)
    response = {
        "status_code": 200,
        "headers": {},
        "body": CANNED_BODY,
        "context": {"operation_name": "GetRecords"},
    }
    stock = await parser.parse(dict(response), operation.output_shape)
    hooked: dict[str, Any] = {}
    await client.meta.events.emit(
        EVENT,
        operation_model=operation,
        response_dict=response,
        customized_response_dict=hooked,
    )
    answer = hooked.get(KEY)
    if not isinstance(answer, Answer):
        return "the hook does not decode the canned answer"
    try:
        same = answer == _from_botocore(stock)
    except KinesisFault:
        return "botocore's parser does not read the canned answer"
    return None if same else "the hook and botocore's parser differ on the canned answer"
