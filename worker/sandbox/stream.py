"""One simulated Kinesis stream: shards that take records, split, merge, age, and are read.

Pure: no I/O, no clock, no randomness. Every call is told `now_ms`, so the same calls give the same
answers, and five minutes or a day of retention pass without waiting. `kinesis_api` puts the AWS
operations on top; a simulation may drive it directly.

It follows the service where the service is documented, and offers a choice (`Behaviour`) where
reports about it disagree. Resharding takes effect at once; `settling_ms` only keeps the status on
UPDATING, as readers would see it.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import md5

from worker.sandbox.kinesis_refusals import (
    ExpiredIteratorException,
    ExpiredNextTokenException,
    InvalidArgumentException,
    LimitExceededException,
    ProvisionedThroughputExceededException,
    ResourceInUseException,
    ResourceNotFoundException,
)
from worker.sandbox.kinesis_tokens import (
    TOKEN_LIFE_MS,
    PageToken,
    ShardFilter,
    ShardIterator,
    seal,
    unseal,
)
from worker.sandbox.shard import HASH_KEYS, MIB, Shard, StoredRecord
from worker.sandbox.shard_map import ShardMap
from worker.sandbox.stream_values import (
    Behaviour,
    IteratorType,
    Placed,
    RecordPage,
    ShardPage,
    StreamStatus,
    TrimmedPosition,
)

ANSWER_RECORDS_MAX = 10_000
ANSWER_BYTES_MAX = 10 * MIB
PAGE_SHARDS_MAX = 1_000


class SimulatedStream:
    """One incarnation of a stream: to recreate a stream is to build another one, born later."""

    def __init__(
        self, name: str, *, shards: int = 1, now_ms: int, behaviour: Behaviour | None = None
    ) -> None:
        """Raises LimitExceededException for more shards than allowed."""
        self.name = name
        self.behaviour = behaviour or Behaviour()
        self.created_ms = now_ms
        self._busy_until_ms = now_ms + self.behaviour.settling_ms
        self._keyless = 0
        self._require_room_for(shards)
        self._map = ShardMap(shards, now_ms=now_ms)

    def status(self, now_ms: int) -> StreamStatus:
        """CREATING and UPDATING last `settling_ms`."""
        if now_ms < self.created_ms + self.behaviour.settling_ms:
            return StreamStatus.CREATING
        return StreamStatus.UPDATING if now_ms < self._busy_until_ms else StreamStatus.ACTIVE

    @property
    def open_shards(self) -> Sequence[Shard]:
        """The shards that take records, by hash range."""
        return self._map.open

    # --- writing ------------------------------------------------------------------------------

    def put(
        self, data: bytes, *, partition_key: str | None, now_ms: int, hash_key: int | None = None
    ) -> Placed:
        """Stores one record in the shard that owns the MD5 of its key, or the given hash key.

        Without a key, as on a stream that distributes records itself, the shards take turns and
        readers find no `PartitionKey`.

        Raises InvalidArgumentException for a record above the size limit or an impossible hash
        key, ResourceNotFoundException while the stream is being created.
        """
        self._require_exists(now_ms)
        if len(data) > self.behaviour.record_bytes_max:
            raise InvalidArgumentException(
                f"Record of {len(data)} bytes exceeds the limit of stream {self.name}, "
                f"{self.behaviour.record_bytes_max} bytes."
            )
        if hash_key is not None:
            if not 0 <= hash_key < HASH_KEYS:
                raise InvalidArgumentException(f"ExplicitHashKey {hash_key} is not below 2^128.")
            shard = self._map.owner_of(hash_key)
        elif partition_key is not None:
            digest = md5(partition_key.encode(), usedforsecurity=False).digest()
            shard = self._map.owner_of(int.from_bytes(digest, "big"))
        else:
            shard = self._map.open[self._keyless % len(self._map.open)]
            self._keyless += 1
        record = shard.append(data, partition_key=partition_key, now_ms=now_ms)
        return Placed(shard.shard_id, record.sequence_number)

    # --- resharding ---------------------------------------------------------------------------

    def split(
        self, shard_id: str, *, now_ms: int, at_hash: int | None = None
    ) -> tuple[Shard, Shard]:
        """Closes a shard and opens two that divide its range at `at_hash` (None: in the middle).

        Raises ResourceNotFoundException, ResourceInUseException, InvalidArgumentException,
        LimitExceededException.
        """
        parent = self._open_shard(shard_id, now_ms)
        middle = (parent.start_hash + parent.end_hash + 1) // 2
        at_hash = middle if at_hash is None else at_hash
        if not parent.start_hash + 1 < at_hash < parent.end_hash:
            raise InvalidArgumentException(
                f"NewStartingHashKey {at_hash} used in SplitShard() on shard {shard_id} in stream "
                f"{self.name} is not both greater than one plus the shard's StartingHashKey "
                f"{parent.start_hash} and less than the shard's EndingHashKey {parent.end_hash}."
            )
        self._require_room_for(len(self._map.open) + 1)
        self._settle(now_ms)
        return self._map.split(parent, at_hash, now_ms=now_ms)

    def merge(self, shard_id: str, adjacent_id: str, *, now_ms: int) -> Shard:
        """Closes two shards whose ranges touch and opens one in their place.

        Raises ResourceNotFoundException, ResourceInUseException, InvalidArgumentException.
        """
        parent = self._open_shard(shard_id, now_ms)
        adjacent = self._open_shard(adjacent_id, now_ms)
        if 1 not in (
            adjacent.start_hash - parent.end_hash,
            parent.start_hash - adjacent.end_hash,
        ):
            raise InvalidArgumentException(
                f"Shards {shard_id} and {adjacent_id} in stream {self.name} are not an adjacent "
                "pair of shards eligible for merging"
            )
        self._settle(now_ms)
        return self._map.merge(parent, adjacent, now_ms=now_ms)

    def update_shard_count(self, target: int, *, now_ms: int) -> None:
        """Splits and merges until `target` equal ranges are open.

        Raises ResourceInUseException, LimitExceededException, and InvalidArgumentException for
        more than double or less than half of the open shards.
        """
        self._require_active(now_ms)
        current = len(self._map.open)
        if not current <= 2 * target <= 4 * current:
            raise InvalidArgumentException(
                "UpdateShardCount cannot scale up over double or down below half of your current "
                f"open shard count. Current open shard count: {current} "
                f"Target shard count: {target}"
            )
        self._require_room_for(target)
        self._settle(now_ms)
        self._map.scale(target, now_ms=now_ms)

    # --- listing ------------------------------------------------------------------------------

    def list_shards(
        self,
        *,
        now_ms: int,
        wanted: ShardFilter | None = None,
        after: str = "",
        shards_max: int = PAGE_SHARDS_MAX,
    ) -> ShardPage:
        """The first page of the shards that match, beginning behind the id `after`.

        Raises ResourceInUseException while the stream is being created, InvalidArgumentException
        for a filter without its value or with another's.
        """
        if self.status(now_ms) is StreamStatus.CREATING:
            raise ResourceInUseException(f"Stream {self.name} not ACTIVE, instead in CREATING")
        wanted = wanted or ShardFilter()
        if not wanted.is_complete:
            raise InvalidArgumentException(
                f"ShardFilter {wanted.kind} with ShardId {wanted.shard_id} and Timestamp "
                f"{wanted.timestamp_ms}: AFTER_SHARD_ID goes with the first, AT_TIMESTAMP and "
                "FROM_TIMESTAMP with the second, the other types with neither."
            )
        horizon_ms = now_ms - self.behaviour.retention_ms
        self._map.expire(horizon_ms)
        matching = self._map.matching(wanted, horizon_ms=max(self.created_ms, horizon_ms))
        found = [shard for shard in matching if shard.shard_id > after]
        page = found[: min(shards_max, PAGE_SHARDS_MAX)]
        if len(page) == len(found):
            return ShardPage(page, None)
        token = PageToken(
            stream=self.name,
            created_ms=self.created_ms,
            wanted=wanted,
            after=page[-1].shard_id,
            issued_ms=now_ms,
        )
        return ShardPage(page, seal(token))

    def next_shards(
        self, token: str, *, now_ms: int, shards_max: int = PAGE_SHARDS_MAX
    ) -> ShardPage:
        """The page after one of `list_shards`.

        Raises ExpiredNextTokenException, InvalidArgumentException, ResourceNotFoundException.
        """
        page = unseal(token, PageToken)
        if page is None:
            raise InvalidArgumentException("Invalid NextToken.")
        if now_ms - page.issued_ms > TOKEN_LIFE_MS:
            raise ExpiredNextTokenException(f"NextToken is older than {TOKEN_LIFE_MS} ms.")
        self._require_incarnation(page.stream, page.created_ms)
        return self.list_shards(
            now_ms=now_ms, wanted=page.wanted, after=page.after, shards_max=shards_max
        )

    # --- reading ------------------------------------------------------------------------------

    def shard_iterator(
        self,
        shard_id: str,
        kind: IteratorType,
        *,
        now_ms: int,
        sequence_number: str | None = None,
        timestamp_ms: int | None = None,
    ) -> str:
        """A place to read from, good for five minutes.

        Raises ResourceNotFoundException, and InvalidArgumentException for a sequence number that
        this shard never issued, a time in the future, or a value its type does not go with.
        """
        self._require_exists(now_ms)
        shard = self._shard(shard_id, now_ms)
        lost = False
        match kind, sequence_number, timestamp_ms:
            case IteratorType.TRIM_HORIZON, None, None:
                counter = shard.oldest
            case IteratorType.LATEST, None, None:
                counter = shard.next_counter
            case IteratorType.AT_TIMESTAMP, None, int(at_ms):
                _require_past(at_ms, now_ms)
                counter = shard.counter_at(at_ms)
            case (
                IteratorType.AT_SEQUENCE_NUMBER | IteratorType.AFTER_SEQUENCE_NUMBER,
                str(number),
                None,
            ):
                counter = shard.counter_of(number)
                lost = 0 < counter < shard.oldest and self._loses(number)
                counter += kind is IteratorType.AFTER_SEQUENCE_NUMBER
            case _:
                raise InvalidArgumentException(
                    f"{kind} was requested with StartingSequenceNumber {sequence_number} and "
                    f"Timestamp {timestamp_ms}. AT_SEQUENCE_NUMBER and AFTER_SEQUENCE_NUMBER go "
                    "with the first, AT_TIMESTAMP with the second, TRIM_HORIZON and LATEST with "
                    "neither."
                )
        return self._iterator(shard, counter, now_ms, lost=lost)

    def get_records(
        self, iterator: str, *, now_ms: int, records_max: int = ANSWER_RECORDS_MAX
    ) -> RecordPage:
        """Up to `records_max` records and 10 MiB from the iterator on.

        Raises ExpiredIteratorException, InvalidArgumentException, ResourceNotFoundException (the
        stream is another one now, or the shard expired), ProvisionedThroughputExceededException.
        """
        if not 1 <= records_max <= ANSWER_RECORDS_MAX:
            raise InvalidArgumentException(
                f"Limit {records_max} is not between 1 and {ANSWER_RECORDS_MAX}."
            )
        place = self._place(iterator, now_ms)
        shard = self._shard(place.shard_id, now_ms)
        if self.behaviour.read_limits and shard.allowance.is_spent(now_ms):
            raise ProvisionedThroughputExceededException(
                f"Rate exceeded for shard {shard.shard_id} in stream {self.name}."
            )
        if place.lost:
            again = self._iterator(shard, place.counter, now_ms, lost=True)
            return RecordPage((), again, self.behaviour.retention_ms, ())
        counter = max(place.counter, shard.oldest)
        records = shard.run(counter, records_max=records_max, bytes_max=ANSWER_BYTES_MAX)
        if self.behaviour.read_limits:
            shard.allowance.spend(sum(one.size_bytes for one in records), now_ms=now_ms)
        return self._record_page(shard, counter + len(records), records, now_ms)

    def _record_page(
        self, shard: Shard, counter: int, records: Sequence[StoredRecord], now_ms: int
    ) -> RecordPage:
        """The answer that holds `records` and ends before `counter`."""
        if counter < shard.next_counter:
            reached = records[-1] if records else shard.records[counter - shard.oldest]
            # Zero would claim that nothing is left, even if the rest arrived this millisecond.
            behind_ms = max(1, now_ms - reached.arrival_ms)
            return RecordPage(records, self._iterator(shard, counter, now_ms), behind_ms, ())
        ends_here = self.behaviour.end_with_last_records or not records
        if shard.closed_ms is not None and ends_here:
            return RecordPage(records, None, 0, self._map.children_of(shard))
        return RecordPage(records, self._iterator(shard, counter, now_ms), 0, ())

    # --- inside -------------------------------------------------------------------------------

    def _iterator(self, shard: Shard, counter: int, now_ms: int, *, lost: bool = False) -> str:
        place = ShardIterator(
            stream=self.name,
            created_ms=self.created_ms,
            shard_id=shard.shard_id,
            counter=counter,
            issued_ms=now_ms,
            lost=lost,
        )
        return seal(place)

    def _place(self, iterator: str, now_ms: int) -> ShardIterator:
        place = unseal(iterator, ShardIterator)
        if place is None:
            raise InvalidArgumentException("Invalid ShardIterator.")
        if now_ms - place.issued_ms > TOKEN_LIFE_MS:
            raise ExpiredIteratorException(
                f"Iterator expired. The iterator was created at time {place.issued_ms} while right "
                f"now it is {now_ms} which is further in the future than the tolerated delay of "
                f"{TOKEN_LIFE_MS} milliseconds."
            )
        self._require_incarnation(place.stream, place.created_ms)
        return place

    def _loses(self, sequence_number: str) -> bool:
        """Whether reading from a trimmed record gives nothing, for ever."""
        if self.behaviour.trimmed is TrimmedPosition.REFUSED:
            raise InvalidArgumentException(
                f"StartingSequenceNumber {sequence_number} is older than the trim horizon of "
                f"stream {self.name}."
            )
        return self.behaviour.trimmed is TrimmedPosition.EMPTY

    def _shard(self, shard_id: str, now_ms: int) -> Shard:
        horizon_ms = now_ms - self.behaviour.retention_ms
        shard = self._map.get(shard_id)
        if shard is None or not shard.was_open_after(horizon_ms):
            raise ResourceNotFoundException(
                f"Shard {shard_id} in stream {self.name} does not exist"
            )
        shard.trim(horizon_ms)
        return shard

    def _open_shard(self, shard_id: str, now_ms: int) -> Shard:
        self._require_active(now_ms)
        shard = self._shard(shard_id, now_ms)
        if shard.closed_ms is not None:
            raise InvalidArgumentException(
                f"Shard {shard_id} in stream {self.name} is closed and cannot be resharded."
            )
        return shard

    def _settle(self, now_ms: int) -> None:
        self._busy_until_ms = now_ms + self.behaviour.settling_ms

    def _require_exists(self, now_ms: int) -> None:
        if self.status(now_ms) is StreamStatus.CREATING:
            raise ResourceNotFoundException(f"Stream {self.name} not found.")

    def _require_active(self, now_ms: int) -> None:
        if (status := self.status(now_ms)) is not StreamStatus.ACTIVE:
            raise ResourceInUseException(f"Stream {self.name} not ACTIVE, instead in {status}")

    def _require_incarnation(self, name: str, created_ms: int) -> None:
        if (name, created_ms) != (self.name, self.created_ms):
            raise ResourceNotFoundException(
                f"Stream {name} created at {created_ms} not found; {self.name} was created at "
                f"{self.created_ms}."
            )

    def _require_room_for(self, shards: int) -> None:
        if shards > self.behaviour.open_shards_max:
            raise LimitExceededException(
                f"This request would exceed the shard limit: {shards} open shards, at most "
                f"{self.behaviour.open_shards_max}."
            )


def _require_past(timestamp_ms: int, now_ms: int) -> None:
    if timestamp_ms > now_ms:
        raise InvalidArgumentException(
            "The timestampInMillis parameter cannot be greater than the "
            f"currentTimestampInMillis. timestampInMillis: {timestamp_ms}, "
            f"currentTimestampInMillis: {now_ms}"
        )
