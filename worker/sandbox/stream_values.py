"""The values that go into and come out of a simulated stream, and how it may be told to behave.

Pure values; `stream` gives them their meaning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import NamedTuple

from worker.sandbox.shard import MIB, Shard, StoredRecord

DAY_MS = 86_400_000


class IteratorType(StrEnum):
    """Where reading begins; the words of `GetShardIterator`."""

    TRIM_HORIZON = "TRIM_HORIZON"
    LATEST = "LATEST"
    AT_TIMESTAMP = "AT_TIMESTAMP"
    AT_SEQUENCE_NUMBER = "AT_SEQUENCE_NUMBER"
    AFTER_SEQUENCE_NUMBER = "AFTER_SEQUENCE_NUMBER"


class TrimmedPosition(Enum):
    """What an iterator at a sequence number older than retention does. All three were reported:
    https://github.com/apache/flink-connector-aws/pull/179 (resumes at the oldest record),
    https://github.com/harlow/kinesis-consumer/pull/175 (refused),
    https://github.com/harlow/kinesis-consumer/issues/125 (empty answers for ever)."""

    RESUMES = "resumes"
    REFUSED = "refused"
    EMPTY = "empty"


class StreamStatus(StrEnum):
    """The status words of `DescribeStreamSummary`. Deletion is immediate here."""

    CREATING = "CREATING"
    ACTIVE = "ACTIVE"
    UPDATING = "UPDATING"


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How a stream behaves where AWS can be configured, limited, or was seen to differ.

    `settling_ms`: how long it stays CREATING or UPDATING. `read_limits`: whether the limits per
    shard are enforced. `end_with_last_records`: whether the answer with the last records of a
    closed shard also ends it, or one more, empty answer does.
    """

    retention_ms: int = DAY_MS
    settling_ms: int = 0
    read_limits: bool = False
    open_shards_max: int = 500
    record_bytes_max: int = MIB
    end_with_last_records: bool = True
    trimmed: TrimmedPosition = TrimmedPosition.RESUMES


class Placed(NamedTuple):
    """Where a record went."""

    shard_id: str
    sequence_number: str


class ShardPage(NamedTuple):
    """Shards in the order of their ids, and the token of the next page, if there is one."""

    shards: Sequence[Shard]
    next_token: str | None


class RecordPage(NamedTuple):
    """One answer to a read. At the end of a closed shard `next_iterator` is None and `children`
    are its child shards. `behind_ms` is 0 when nothing is left to read now."""

    records: Sequence[StoredRecord]
    next_iterator: str | None
    behind_ms: int
    children: Sequence[Shard]
