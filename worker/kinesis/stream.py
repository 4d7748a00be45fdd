"""One Kinesis stream as four calls: describe, list shards, get an iterator, get records.

Addresses the stream by ARN or by name, reads all pages, and turns every failure into a
`KinesisFault` in one place. Retries nothing and keeps no position.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from worker.kinesis.faults import CALL_ERRORS, KinesisFault, fault_of
from worker.kinesis.lineage import Shard
from worker.kinesis.observer import SourceObserver
from worker.kinesis.wire import Answer, FastPath
from worker.model import HOUR_MS, Position, StreamIdentity

RECORDS_MAX = 2_500
"""Records asked for at once. The service would give 10,000, but folding and applying so many keeps
the event loop busy for too long; at five calls a second this is more than a shard's 2 MiB hold."""
PAGES_MAX = 100
"""Pages of one listing, up to 1,000 shards each."""

_METHODS: Mapping[str, str] = {
    "DescribeStreamSummary": "describe_stream_summary",
    "ListShards": "list_shards",
    "GetShardIterator": "get_shard_iterator",
    "GetRecords": "get_records",
}
OPERATIONS: tuple[str, ...] = tuple(_METHODS)
"""All operations that can fail: the label values of a metric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """Which stream it is, and how long it keeps records."""

    identity: StreamIdentity
    retention_ms: int


class Stream:
    """The calls. Every one may raise KinesisFault."""

    def __init__(self, client: Any, name_or_arn: str, observer: SourceObserver) -> None:
        self._client = client
        self._observer = observer
        self._by_arn = name_or_arn.startswith("arn:")
        self._address = {"StreamARN" if self._by_arn else "StreamName": name_or_arn}
        self.name_or_arn = name_or_arn
        self.fast_path = FastPath(observer)
        self.served = False
        """Whether GetRecords ever answered: until then a refusal is a wrong set-up."""

    @property
    def where(self) -> str:
        """Region and endpoint, for a person who looks for the stream."""
        return f"region {self._client.meta.region_name} at {self._client.meta.endpoint_url}"

    async def describe(self) -> Description:
        """Identity and retention of the stream as it is now."""
        answer = await self._call("DescribeStreamSummary", **self._address)
        summary = answer["StreamDescriptionSummary"]
        created: datetime = summary["StreamCreationTimestamp"]
        return Description(
            identity=StreamIdentity(
                name=summary["StreamName"], created_ms=round(created.timestamp() * 1_000)
            ),
            retention_ms=int(summary["RetentionPeriodHours"]) * HOUR_MS,
        )

    async def shards(self) -> tuple[Shard, ...]:
        """All shards that are not expired, open and closed."""
        request: dict[str, Any] = dict(self._address)
        shards: list[Shard] = []
        for _ in range(PAGES_MAX):
            page = await self._call("ListShards", **request)
            shards.extend(_shard(shard) for shard in page["Shards"])
            if not page.get("NextToken"):
                return tuple(shards)
            # A token brings its own stream; naming both is an InvalidArgument.
            request = {"NextToken": page["NextToken"]}
        raise AssertionError(f"ListShards has more than {PAGES_MAX} pages")

    async def iterator(self, position: Position) -> str:
        """An iterator that goes on behind `position`."""
        start: dict[str, Any]
        if position.sequence_number is not None:
            start = {
                "ShardIteratorType": "AFTER_SEQUENCE_NUMBER",
                "StartingSequenceNumber": position.sequence_number,
            }
        elif position.start_at_ms is not None:
            at = datetime.fromtimestamp(position.start_at_ms / 1_000, UTC)
            start = {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": at}
        else:
            start = {"ShardIteratorType": "TRIM_HORIZON"}
        answer = await self._call(
            "GetShardIterator", **self._address, ShardId=position.shard_id, **start
        )
        return str(answer["ShardIterator"])

    async def records(self, iterator: str) -> Answer:
        """One GetRecords answer of at most `RECORDS_MAX` records or 10 MiB."""
        request: dict[str, Any] = self._address if self._by_arn else {}
        response = await self._call(
            "GetRecords", ShardIterator=iterator, Limit=RECORDS_MAX, **request
        )
        try:
            answer = self.fast_path.answer_of(response)
        except KinesisFault as fault:
            self._observer.failed(operation=fault.operation, code=fault.code)
            raise
        self.served = True
        return answer

    async def _call(self, operation: str, **request: Any) -> Mapping[str, Any]:
        try:
            answer: Mapping[str, Any] = await getattr(self._client, _METHODS[operation])(**request)
        except CALL_ERRORS as error:
            fault = fault_of(error, operation)
            self._observer.failed(operation=operation, code=fault.code)
            raise fault from error
        return answer


def _shard(shard: Mapping[str, Any]) -> Shard:
    parents = (shard.get("ParentShardId"), shard.get("AdjacentParentShardId"))
    return Shard(
        shard_id=shard["ShardId"],
        parent_ids=tuple(parent for parent in parents if parent),
        # Only its presence counts: emulators put a placeholder there.
        closed=shard["SequenceNumberRange"].get("EndingSequenceNumber") is not None,
    )
