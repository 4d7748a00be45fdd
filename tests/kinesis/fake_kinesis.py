"""A Kinesis that lives in the client's last hook before the network, and does as the test says.

Requests come out of the real aiobotocore client (serialized, signed) and answers go back as HTTP
bodies through its real parsers. Beyond a small correct service, a test can script any answer:
`fail("GetRecords", "KMSThrottlingException")`, a dropped connection, a body of its own.
"""

from __future__ import annotations

import base64
import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from botocore.awsrequest import AWSPreparedRequest
from botocore.exceptions import HTTPClientError

from worker.testing import FakeClock

ITERATOR_SECONDS = 300.0
CREATED_MS = 1_790_000_000_000
NOW_MS = 1_795_000_000_000
DAY_HOURS = 24

Body: TypeAlias = dict[str, Any]
Special: TypeAlias = Callable[[Body], tuple[int, Body | bytes]]
"""Request to status and body; may call back into the service, or raise like the network."""


class HttpAnswer:
    """What aiobotocore expects of an HTTP response."""

    def __init__(self, status_code: int, body: Body | bytes) -> None:
        self.status_code = status_code
        self.headers: Mapping[str, str] = {"x-amzn-RequestId": "fake"}
        self._body = body if isinstance(body, bytes) else json.dumps(body).encode()

    @property
    async def content(self) -> bytes:
        """The whole body."""
        return self._body


@dataclass(slots=True)
class Shard:
    """A shard and its records as (sequence number, arrival, wire record)."""

    shard_id: str
    parents: tuple[str, ...] = ()
    children: tuple[str, ...] = ()
    records: list[tuple[int, int, Body]] = field(default_factory=list)


def error(code: str, status: int = 400) -> Special:
    """An AWS error answer."""
    return lambda _: (status, {"__type": f"com.amazonaws.kinesis#{code}", "message": "scripted"})


def disconnect(_: Body) -> tuple[int, Body]:
    """The connection breaks."""
    raise HTTPClientError(error="scripted")


class FakeKinesis:
    """One stream of one account."""

    def __init__(self, clock: FakeClock, *, names_children: bool = True) -> None:
        self._clock = clock
        self.names_children = names_children
        self.created_ms: int | None = CREATED_MS
        self.shards: dict[str, Shard] = {}
        self.page_shards = 1_000
        self.answer_records = 10_000
        self.calls: list[tuple[str, Body, float]] = []
        """Operation, request, monotonic seconds."""
        self._script: dict[str, deque[Special]] = {}
        self._sequence = 49_000_000_000_000_000_000_000_000_000_000_000_000
        self.add_shard()

    # --- for the test -------------------------------------------------------------------------

    def attach(self, client: Any) -> None:
        """Answers in place of the network."""
        client.meta.events.register("before-send.kinesis", self._on_request)

    def fail(self, operation: str, *answers: str | Special) -> None:
        """The next answers of an operation, one a call; a word is an AWS error code."""
        specials = [error(one) if isinstance(one, str) else one for one in answers]
        self._script.setdefault(operation, deque()).extend(specials)

    def heal(self) -> None:
        """Forgets what was scripted."""
        self._script.clear()

    def calls_of(self, operation: str) -> list[Body]:
        """The requests of an operation."""
        return [request for name, request, _ in self.calls if name == operation]

    def add_shard(self, *parents: str) -> str:
        """A new open shard."""
        shard_id = f"shardId-{len(self.shards):012}"
        self.shards[shard_id] = Shard(shard_id, parents)
        for parent in parents:
            self.shards[parent].children += (shard_id,)
        return shard_id

    def split(self, shard_id: str) -> tuple[str, str]:
        """Closes a shard and opens two."""
        return self.add_shard(shard_id), self.add_shard(shard_id)

    def put(self, shard_id: str, *texts: str, **wire: Any) -> None:
        """Stores records now; `wire` overrides their fields, None leaves a field out."""
        for text in texts:
            self._sequence += 1
            arrival_ms = self._clock.now_ms()
            record = {
                "SequenceNumber": str(self._sequence),
                "Data": base64.b64encode(text.encode()).decode(),
                "PartitionKey": "key",
                "ApproximateArrivalTimestamp": arrival_ms / 1_000,
            } | wire
            kept = {name: value for name, value in record.items() if value is not None}
            self.shards[shard_id].records.append((self._sequence, arrival_ms, kept))

    # --- the service --------------------------------------------------------------------------

    async def _on_request(self, request: AWSPreparedRequest, **_: Any) -> HttpAnswer:
        operation = request.headers["X-Amz-Target"].decode().partition(".")[2]
        body = json.loads(request.body)
        self.calls.append((operation, body, self._clock.monotonic()))
        script = self._script.get(operation)
        if script:
            return HttpAnswer(*script.popleft()(body))
        return HttpAnswer(*self.answer(operation, body))

    def answer(self, operation: str, request: Body) -> tuple[int, Body | bytes]:
        """What a service in good health answers."""
        if self.created_ms is None:
            return error("ResourceNotFoundException")(request)
        serve: Mapping[str, Special] = {
            "DescribeStreamSummary": self._describe,
            "ListShards": self._list,
            "GetShardIterator": self._iterator,
            "GetRecords": self._records,
        }
        return serve[operation](request)

    def _describe(self, _: Body) -> tuple[int, Body]:
        assert self.created_ms is not None
        summary = {
            "StreamName": "events",
            "StreamARN": "arn:aws:kinesis:eu-west-1:123456789012:stream/events",
            "StreamStatus": "ACTIVE",
            "RetentionPeriodHours": DAY_HOURS,
            "StreamCreationTimestamp": self.created_ms / 1_000,
            "EnhancedMonitoring": [],
            "OpenShardCount": 1,
        }
        return 200, {"StreamDescriptionSummary": summary}

    def _list(self, request: Body) -> tuple[int, Body | bytes]:
        if "NextToken" in request and len(request) > 1:
            return error("InvalidArgumentException")(request)
        begin = int(request.get("NextToken", 0))
        end = begin + self.page_shards
        page = list(self.shards.values())[begin:end]
        more = {"NextToken": str(end)} if end < len(self.shards) else {}
        return 200, {"Shards": [_listed(shard) for shard in page], **more}

    def _iterator(self, request: Body) -> tuple[int, Body | bytes]:
        shard = self.shards.get(request["ShardId"])
        if shard is None:
            return error("ResourceNotFoundException")(request)
        after = 0
        if request["ShardIteratorType"] == "AT_TIMESTAMP":
            at_ms = round(request["Timestamp"] * 1_000)
            if at_ms > self._clock.now_ms():
                return error("InvalidArgumentException")(request)
            after = max((seq for seq, came_ms, _ in shard.records if came_ms < at_ms), default=0)
        elif request["ShardIteratorType"] == "AFTER_SEQUENCE_NUMBER":
            after = int(request["StartingSequenceNumber"])
        return 200, {"ShardIterator": self._token(shard.shard_id, after)}

    def _token(self, shard_id: str, after: int) -> str:
        return f"{shard_id}/{after}/{self._clock.monotonic()}"

    def _records(self, request: Body) -> tuple[int, Body | bytes]:
        shard_id, after, issued = request["ShardIterator"].split("/")
        if self._clock.monotonic() - float(issued) > ITERATOR_SECONDS:
            return error("ExpiredIteratorException")(request)
        shard = self.shards.get(shard_id)
        if shard is None:
            return error("ResourceNotFoundException")(request)
        unread = [one for one in shard.records if one[0] > int(after)]
        taken = unread[: self.answer_records]
        rest = unread[len(taken) :]
        body: Body = {
            "Records": [wire for _, _, wire in taken],
            "MillisBehindLatest": max(1, self._clock.now_ms() - taken[-1][1]) if rest else 0,
        }
        if shard.children and not rest:
            if self.names_children:
                body["ChildShards"] = [
                    {
                        "ShardId": child,
                        "ParentShards": list(self.shards[child].parents),
                        "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "1"},
                    }
                    for child in shard.children
                ]
        else:
            last = taken[-1][0] if taken else int(after)
            body["NextShardIterator"] = self._token(shard_id, last)
        return 200, body


def _listed(shard: Shard) -> Body:
    listed: Body = {
        "ShardId": shard.shard_id,
        "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "1"},
        "SequenceNumberRange": {"StartingSequenceNumber": "0"},
    }
    if shard.children:
        listed["SequenceNumberRange"]["EndingSequenceNumber"] = "9223372036854775807"
    for name, parent in zip(
        ("ParentShardId", "AdjacentParentShardId"), shard.parents, strict=False
    ):
        listed[name] = parent
    return listed
