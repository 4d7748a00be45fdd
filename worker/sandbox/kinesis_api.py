"""The AWS operations of the simulated Kinesis: parameters in, encoded answers out.

Pure, like the streams it holds: `now_ms` comes from the caller, and nothing here knows HTTP.
Parameters come from `kinesis_request`, already of the right form; answers go to `kinesis` as JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import msgspec

from worker.sandbox.kinesis_refusals import (
    InvalidArgumentException,
    ResourceInUseException,
    ResourceNotFoundException,
    ValidationException,
)
from worker.sandbox.kinesis_request import Parameters
from worker.sandbox.kinesis_tokens import (
    PageToken,
    ShardFilter,
    ShardFilterType,
    ShardIterator,
    unseal,
)
from worker.sandbox.shard import Shard
from worker.sandbox.stream import ANSWER_RECORDS_MAX, PAGE_SHARDS_MAX, SimulatedStream
from worker.sandbox.stream_values import DAY_MS, Behaviour, IteratorType

ARN_PREFIX = "arn:aws:kinesis:us-east-1:000000000000:stream/"
STREAM_NAMES_MAX = 100
_HOUR_MS = DAY_MS // 24

Answer: TypeAlias = Any
"""Anything that msgspec encodes to the JSON of the answer; None is an answer without a body."""


class _Record(msgspec.Struct, rename="pascal", gc=False):
    """A record as GetRecords writes it; `data` becomes base64, the time is in seconds."""

    sequence_number: str
    approximate_arrival_timestamp: float
    data: bytes
    partition_key: str | msgspec.UnsetType


class _Records(msgspec.Struct, rename="pascal"):
    records: list[_Record]
    next_shard_iterator: str | None
    millis_behind_latest: int
    child_shards: list[dict[str, Any]] | msgspec.UnsetType = msgspec.UNSET


class SimulatedKinesis:
    """All streams of one account in one region."""

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        """`behaviour` is that of every stream created from now on."""
        self._behaviour = behaviour or Behaviour()
        self._streams: dict[str, SimulatedStream] = {}
        self._encoder = msgspec.json.Encoder()
        self._operations: dict[str, Callable[[Parameters, int], Answer]] = {
            "CreateStream": self._create_stream,
            "DeleteStream": self._delete_stream,
            "DescribeStreamSummary": self._describe_stream_summary,
            "ListStreams": self._list_streams,
            "ListShards": self._list_shards,
            "PutRecord": self._put_record,
            "PutRecords": self._put_records,
            "GetShardIterator": self._get_shard_iterator,
            "GetRecords": self._get_records,
            "SplitShard": self._split_shard,
            "MergeShards": self._merge_shards,
            "UpdateShardCount": self._update_shard_count,
        }

    @property
    def operations(self) -> frozenset[str]:
        """The names of the operations served."""
        return frozenset(self._operations)

    def perform(self, operation: str, parameters: Parameters, *, now_ms: int) -> bytes:
        """The body of the answer, empty for operations that answer nothing.

        Raises KinesisRefusal.
        """
        answer = self._operations[operation](parameters, now_ms)
        return b"" if answer is None else self._encoder.encode(answer)

    def create(
        self, name: str, *, shards: int, now_ms: int, record_bytes_max: int | None = None
    ) -> SimulatedStream:
        """Raises ResourceInUseException when the name is taken, LimitExceededException."""
        if name in self._streams:
            raise ResourceInUseException(f"Stream {name} already exists.")
        behaviour = self._behaviour
        if record_bytes_max is not None:
            behaviour = replace(behaviour, record_bytes_max=record_bytes_max)
        stream = SimulatedStream(name, shards=shards, now_ms=now_ms, behaviour=behaviour)
        self._streams[name] = stream
        return stream

    def stream(self, name: str) -> SimulatedStream:
        """Raises ResourceNotFoundException."""
        if (stream := self._streams.get(name)) is None:
            raise ResourceNotFoundException(f"Stream {name} not found.")
        return stream

    def _stream_of(self, parameters: Parameters) -> SimulatedStream:
        """The stream a request names; by name, by ARN, or by both if they agree."""
        name = parameters.get("StreamName")
        arn = parameters.get("StreamARN")
        named = None if arn is None else arn.partition(":stream/")[2]
        if name is None and named is None:
            raise InvalidArgumentException("Either StreamName or StreamARN must be given.")
        if name is not None and named is not None and name != named:
            raise InvalidArgumentException(f"StreamName {name} is not the stream of {arn}.")
        return self.stream(name or named or "")

    # --- streams ------------------------------------------------------------------------------

    def _create_stream(self, parameters: Parameters, now_ms: int) -> Answer:
        mode = parameters.get("StreamModeDetails", {}).get("StreamMode", "PROVISIONED")
        if mode != "PROVISIONED" or parameters.get("RecordDistributionStrategy") == "AUTO":
            raise InvalidArgumentException("Only provisioned streams are simulated here.")
        record_kib = parameters.get("MaxRecordSizeInKiB")
        self.create(
            parameters["StreamName"],
            shards=parameters.get("ShardCount", 1),
            now_ms=now_ms,
            record_bytes_max=record_kib and record_kib * 1024,
        )

    def _delete_stream(self, parameters: Parameters, now_ms: int) -> Answer:
        del now_ms
        del self._streams[self._stream_of(parameters).name]

    def _describe_stream_summary(self, parameters: Parameters, now_ms: int) -> Answer:
        stream = self._stream_of(parameters)
        return {
            "StreamDescriptionSummary": _summary(stream, now_ms)
            | {
                "RetentionPeriodHours": stream.behaviour.retention_ms // _HOUR_MS,
                "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
                "EncryptionType": "NONE",
                "OpenShardCount": len(stream.open_shards),
                "ConsumerCount": 0,
                "MaxRecordSizeInKiB": stream.behaviour.record_bytes_max // 1024,
            }
        }

    def _list_streams(self, parameters: Parameters, now_ms: int) -> Answer:
        after = parameters.get("NextToken") or parameters.get("ExclusiveStartStreamName", "")
        names = sorted(name for name in self._streams if name > after)
        page = names[: min(parameters.get("Limit", STREAM_NAMES_MAX), STREAM_NAMES_MAX)]
        more = len(page) < len(names)
        return {
            "StreamNames": page,
            "HasMoreStreams": more,
            "StreamSummaries": [_summary(self._streams[name], now_ms) for name in page],
        } | ({"NextToken": page[-1]} if more else {})

    # --- shards -------------------------------------------------------------------------------

    def _list_shards(self, parameters: Parameters, now_ms: int) -> Answer:
        shards_max = parameters.get("MaxResults", PAGE_SHARDS_MAX)
        if (token := parameters.get("NextToken")) is not None:
            page = self._stream_of_page(parameters).next_shards(
                token, now_ms=now_ms, shards_max=shards_max
            )
        else:
            stream = self._stream_of(parameters)
            created_ms = parameters.get("StreamCreationTimestamp", stream.created_ms)
            if created_ms not in (stream.created_ms, stream.created_ms // 1_000 * 1_000):
                raise ResourceNotFoundException(
                    f"Stream {stream.name} was not created at {created_ms}."
                )
            page = stream.list_shards(
                now_ms=now_ms,
                wanted=_shard_filter(parameters.get("ShardFilter")),
                after=parameters.get("ExclusiveStartShardId", ""),
                shards_max=shards_max,
            )
        answer: dict[str, Any] = {"Shards": [_shard(shard) for shard in page.shards]}
        return answer | ({"NextToken": page.next_token} if page.next_token else {})

    def _stream_of_page(self, parameters: Parameters) -> SimulatedStream:
        """The stream of a page token, which says it all: nothing else may be given with it."""
        if extra := sorted(parameters.keys() - {"NextToken", "MaxResults"}):
            raise InvalidArgumentException(f"NextToken and {extra[0]} cannot be given together.")
        if (page := unseal(parameters["NextToken"], PageToken)) is None:
            raise InvalidArgumentException("Invalid NextToken.")
        return self.stream(page.stream)

    def _split_shard(self, parameters: Parameters, now_ms: int) -> Answer:
        self._stream_of(parameters).split(
            parameters["ShardToSplit"],
            at_hash=int(parameters["NewStartingHashKey"]),
            now_ms=now_ms,
        )

    def _merge_shards(self, parameters: Parameters, now_ms: int) -> Answer:
        self._stream_of(parameters).merge(
            parameters["ShardToMerge"], parameters["AdjacentShardToMerge"], now_ms=now_ms
        )

    def _update_shard_count(self, parameters: Parameters, now_ms: int) -> Answer:
        stream, target = self._stream_of(parameters), parameters["TargetShardCount"]
        current = len(stream.open_shards)
        stream.update_shard_count(target, now_ms=now_ms)
        return {
            "StreamName": stream.name,
            "StreamARN": ARN_PREFIX + stream.name,
            "CurrentShardCount": current,
            "TargetShardCount": target,
        }

    # --- records ------------------------------------------------------------------------------

    def _put_record(self, parameters: Parameters, now_ms: int) -> Answer:
        return _put(self._stream_of(parameters), parameters, now_ms)

    def _put_records(self, parameters: Parameters, now_ms: int) -> Answer:
        stream = self._stream_of(parameters)
        placed = [_put(stream, record, now_ms) for record in parameters["Records"]]
        return {"FailedRecordCount": 0, "Records": placed}

    def _get_shard_iterator(self, parameters: Parameters, now_ms: int) -> Answer:
        iterator = self._stream_of(parameters).shard_iterator(
            parameters["ShardId"],
            IteratorType(parameters["ShardIteratorType"]),
            sequence_number=parameters.get("StartingSequenceNumber"),
            timestamp_ms=parameters.get("Timestamp"),
            now_ms=now_ms,
        )
        return {"ShardIterator": iterator}

    def _get_records(self, parameters: Parameters, now_ms: int) -> Answer:
        iterator = parameters["ShardIterator"]
        if (place := unseal(iterator, ShardIterator)) is None:
            raise InvalidArgumentException("Invalid ShardIterator.")
        stream = self.stream(place.stream)
        if "StreamARN" in parameters and self._stream_of(parameters) is not stream:
            raise InvalidArgumentException(
                f"The iterator is one of {stream.name}, not of {parameters['StreamARN']}."
            )
        page = stream.get_records(
            iterator, now_ms=now_ms, records_max=parameters.get("Limit", ANSWER_RECORDS_MAX)
        )
        return _Records(
            records=[
                _Record(
                    one.sequence_number,
                    one.arrival_ms / 1_000,
                    one.data,
                    msgspec.UNSET if one.partition_key is None else one.partition_key,
                )
                for one in page.records
            ],
            next_shard_iterator=page.next_iterator,
            millis_behind_latest=page.behind_ms,
            child_shards=[_child(shard) for shard in page.children] or msgspec.UNSET,
        )


def shard_id_of(parameters: Parameters) -> str | None:
    """The shard a request is about, if it is about one; also when only its iterator says so."""
    if (iterator := parameters.get("ShardIterator")) is not None:
        place = unseal(iterator, ShardIterator)
        return None if place is None else place.shard_id
    for name in ("ShardId", "ShardToSplit", "ShardToMerge"):
        if name in parameters:
            return str(parameters[name])
    return None


def _put(stream: SimulatedStream, record: Parameters, now_ms: int) -> dict[str, str]:
    if "PartitionKey" not in record:
        raise ValidationException("PartitionKey must be given: this is no AUTO distributed stream.")
    hash_key = record.get("ExplicitHashKey")
    placed = stream.put(
        record["Data"],
        partition_key=record["PartitionKey"],
        hash_key=None if hash_key is None else int(hash_key),
        now_ms=now_ms,
    )
    return {"ShardId": placed.shard_id, "SequenceNumber": placed.sequence_number}


def _summary(stream: SimulatedStream, now_ms: int) -> dict[str, Any]:
    return {
        "StreamName": stream.name,
        "StreamARN": ARN_PREFIX + stream.name,
        "StreamStatus": stream.status(now_ms),
        "StreamModeDetails": {"StreamMode": "PROVISIONED"},
        "StreamCreationTimestamp": stream.created_ms / 1_000,
    }


def _shard_filter(given: Parameters | None) -> ShardFilter | None:
    if given is None:
        return None
    return ShardFilter(
        kind=ShardFilterType(given["Type"]),
        shard_id=given.get("ShardId"),
        timestamp_ms=given.get("Timestamp"),
    )


def _shard(shard: Shard) -> dict[str, Any]:
    numbers = {"StartingSequenceNumber": shard.starting_sequence_number}
    if shard.ending_sequence_number is not None:
        numbers["EndingSequenceNumber"] = shard.ending_sequence_number
    parents = zip(("ParentShardId", "AdjacentParentShardId"), shard.parents, strict=False)
    return {
        "ShardId": shard.shard_id,
        **dict(parents),
        "HashKeyRange": _hash_key_range(shard),
        "SequenceNumberRange": numbers,
    }


def _child(shard: Shard) -> dict[str, Any]:
    return {
        "ShardId": shard.shard_id,
        "ParentShards": shard.parents,
        "HashKeyRange": _hash_key_range(shard),
    }


def _hash_key_range(shard: Shard) -> dict[str, str]:
    return {"StartingHashKey": str(shard.start_hash), "EndingHashKey": str(shard.end_hash)}
