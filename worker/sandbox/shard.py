"""One shard of the simulated stream: its hash range, its records, and its sequence numbers.

Pure: no I/O, no clock, no randomness; `now_ms` comes from the caller. A shard knows nothing of
iterators or other shards; `stream` puts records in, takes runs of them out, and closes it.

Inside a shard a record is known by its counter, 1, 2, 3 ... A sequence number is that counter
wrapped the way AWS wraps it: 56 decimal digits that carry the birth of the shard, the counter, the
second of arrival and the index of the shard (layout: mhart/kinesalite, db/index.js, "version 2").
Numbers of one shard rise, numbers of a child are above those of its parents, no two are the same.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from worker.sandbox.kinesis_refusals import InvalidArgumentException

MIB = 1024 * 1024
HASH_KEYS = 1 << 128
"""Partition keys hash to 0 .. HASH_KEYS - 1."""

READS_PER_SECOND_MAX = 5
READ_BYTES_PER_SECOND_MAX = 2 * MIB

_VERSION = 2


class Encoded(NamedTuple):
    """What a sequence number says about its record."""

    shard_index: int
    shard_created_s: int
    counter: int


def sequence_number_of(encoded: Encoded, *, arrival_s: int) -> str:
    """The decimal sequence number: hex digits 2, birth 9, index 1, counter 16, 00, second 9,
    index 8, 2."""
    return str(
        _VERSION << 184
        | encoded.shard_created_s << 148
        | (encoded.shard_index & 0xF) << 144
        | encoded.counter << 80
        | arrival_s << 36
        | encoded.shard_index << 4
        | _VERSION
    )


def decode_sequence_number(sequence_number: str) -> Encoded | None:
    """The opposite of `sequence_number_of`; None when AWS could not have issued the number."""
    number = int(sequence_number)
    encoded = Encoded(
        shard_index=number >> 4 & 0xFFFF_FFFF,
        shard_created_s=number >> 148 & 0xF_FFFF_FFFF,
        counter=number >> 80 & 0xFFFF_FFFF_FFFF_FFFF,
    )
    arrival_s = number >> 36 & 0xF_FFFF_FFFF
    issued = sequence_number_of(encoded, arrival_s=arrival_s) == sequence_number
    return encoded if issued else None


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """One record as it lies in a shard."""

    sequence_number: str
    arrival_ms: int
    partition_key: str | None
    data: bytes

    @property
    def size_bytes(self) -> int:
        """What it counts for in the limits: data and partition key."""
        return len(self.data) + len(self.partition_key or "")


class ReadAllowance:
    """What one shard may still give: 5 reads and 2 MiB per second, 10 MiB then five seconds rest.

    Source: "GetRecords", Amazon Kinesis API reference. An answer weighs on the allowance for one
    second, or for as long as its bytes take at 2 MiB/s. At most five weigh at a time: one that
    weighs longer than a second lets no other in.
    """

    def __init__(self) -> None:
        self._weighing: deque[tuple[int, int]] = deque()

    def is_spent(self, now_ms: int) -> bool:
        """Whether a read at `now_ms` is one too many."""
        while self._weighing and self._weighing[0][0] <= now_ms:
            self._weighing.popleft()
        size_bytes = sum(size for _, size in self._weighing)
        return (
            len(self._weighing) >= READS_PER_SECOND_MAX or size_bytes >= READ_BYTES_PER_SECOND_MAX
        )

    def spend(self, size_bytes: int, *, now_ms: int) -> None:
        """Counts an answer of `size_bytes` given at `now_ms`."""
        weighs_ms = max(1_000, size_bytes * 1_000 // READ_BYTES_PER_SECOND_MAX)
        self._weighing.append((now_ms + weighs_ms, size_bytes))


@dataclass(slots=True, kw_only=True)
class Shard:
    """A hash range with its records. Callers outside `stream` read it and change nothing.

    `created_s` is the birth that its sequence numbers carry: later than that of its parents, even
    when the shard was born in the same second. `oldest` is the counter of `records[0]`.
    """

    index: int
    start_hash: int
    end_hash: int
    opened_ms: int
    created_s: int
    parents: tuple[str, ...] = ()
    children: tuple[str, ...] = ()
    closed_ms: int | None = None
    records: list[StoredRecord] = field(default_factory=list)
    oldest: int = 1
    allowance: ReadAllowance = field(default_factory=ReadAllowance)

    @property
    def shard_id(self) -> str:
        return f"shardId-{self.index:012d}"

    @property
    def next_counter(self) -> int:
        """The counter the next record would get; of a closed shard, that of its end."""
        return self.oldest + len(self.records)

    @property
    def starting_sequence_number(self) -> str:
        return self._number(0, self.opened_ms)

    @property
    def ending_sequence_number(self) -> str | None:
        """Above all records of a closed shard, None while the shard is open."""
        return None if self.closed_ms is None else self._number(self.next_counter, self.closed_ms)

    def append(self, data: bytes, *, partition_key: str | None, now_ms: int) -> StoredRecord:
        """Adds a record behind all others."""
        assert self.closed_ms is None, f"{self.shard_id} is closed"
        number = self._number(self.next_counter, now_ms)
        record = StoredRecord(number, now_ms, partition_key, data)
        self.records.append(record)
        return record

    def run(self, counter: int, *, records_max: int, bytes_max: int) -> list[StoredRecord]:
        """The records from `counter` on that fit into one answer, at least one if there is any."""
        start = counter - self.oldest
        run = self.records[start : start + records_max]
        size = 0
        for taken, record in enumerate(run):
            size += record.size_bytes
            if size > bytes_max and taken:
                return run[:taken]
        return run

    def counter_at(self, timestamp_ms: int) -> int:
        """The counter of the first record that arrived at `timestamp_ms` or later."""
        late = (n for n, record in enumerate(self.records) if record.arrival_ms >= timestamp_ms)
        return self.oldest + next(late, len(self.records))

    def counter_of(self, sequence_number: str) -> int:
        """The counter behind a number of this shard, be it that of a record, its start or its end.

        Raises InvalidArgumentException for a number that this shard did not issue.
        """
        found = decode_sequence_number(sequence_number)
        used = (
            f"StartingSequenceNumber {sequence_number} used in GetShardIterator on shard "
            f"{self.shard_id} is invalid"
        )
        if found is None:
            raise InvalidArgumentException(f"{used}.")
        if found.shard_index != self.index:
            raise InvalidArgumentException(
                f"Invalid StartingSequenceNumber. It encodes shardId-{found.shard_index:012d}, "
                f"while it was used in a call to a shard with {self.shard_id}"
            )
        if found.shard_created_s != self.created_s:
            raise InvalidArgumentException(f"{used} because it did not come from this stream.")
        if found.counter >= self.next_counter + (self.closed_ms is not None):
            raise InvalidArgumentException(f"{used} because it was not issued yet.")
        return found.counter

    def trim(self, horizon_ms: int) -> None:
        """Forgets the records at the old end that arrived before `horizon_ms`."""
        fresh = (n for n, record in enumerate(self.records) if record.arrival_ms >= horizon_ms)
        expired = next(fresh, len(self.records))
        del self.records[:expired]
        self.oldest += expired

    def was_open_at(self, timestamp_ms: int) -> bool:
        return self.opened_ms <= timestamp_ms and self.was_open_after(timestamp_ms)

    def was_open_after(self, timestamp_ms: int) -> bool:
        return self.closed_ms is None or self.closed_ms >= timestamp_ms

    def _number(self, counter: int, at_ms: int) -> str:
        encoded = Encoded(self.index, self.created_s, counter)
        return sequence_number_of(encoded, arrival_s=at_ms // 1_000)
