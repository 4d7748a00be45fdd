"""Which shards a simulated stream has: who owns which hash keys, who descends from whom.

Pure. It keeps one invariant: the open shards divide all hash keys among them without a gap. What
is allowed, and when, is the business of `stream`; this module only makes the moves.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator, Sequence
from itertools import pairwise
from operator import attrgetter

from worker.sandbox.kinesis_tokens import ShardFilter, ShardFilterType
from worker.sandbox.shard import HASH_KEYS, Shard

_start_hash = attrgetter("start_hash")


def uniform_ranges(count: int) -> list[tuple[int, int]]:
    """All hash keys in `count` equal parts: first and last key of each."""
    starts = [HASH_KEYS * part // count for part in range(count + 1)]
    return [(start, end - 1) for start, end in pairwise(starts)]


class ShardMap:
    """The shards of one stream, open and closed, in the order of their ids."""

    def __init__(self, count: int, *, now_ms: int) -> None:
        self._shards: dict[str, Shard] = {}
        self._open: list[Shard] = []
        self._shards_ever = 0
        for start, end in uniform_ranges(count):
            self._add(start, end, parents=(), now_ms=now_ms)

    @property
    def open(self) -> Sequence[Shard]:
        """The shards that take records, by hash range."""
        return tuple(self._open)

    def get(self, shard_id: str) -> Shard | None:
        return self._shards.get(shard_id)

    def owner_of(self, hash_key: int) -> Shard:
        """The open shard whose range holds the key."""
        assert 0 <= hash_key < HASH_KEYS, hash_key
        return self._open[bisect_right(self._open, hash_key, key=_start_hash) - 1]

    def children_of(self, shard: Shard) -> list[Shard]:
        return [self._shards[child] for child in shard.children if child in self._shards]

    def split(self, parent: Shard, at_hash: int, *, now_ms: int) -> tuple[Shard, Shard]:
        """Closes `parent`; its keys below `at_hash` go to the first child, the rest to the
        second."""
        assert parent.start_hash < at_hash <= parent.end_hash, at_hash
        self._close(parent, now_ms)
        return (
            self._add(parent.start_hash, at_hash - 1, parents=(parent,), now_ms=now_ms),
            self._add(at_hash, parent.end_hash, parents=(parent,), now_ms=now_ms),
        )

    def merge(self, parent: Shard, adjacent: Shard, *, now_ms: int) -> Shard:
        """Closes two neighbours; their child has both as parents, `parent` first."""
        low, high = sorted((parent, adjacent), key=_start_hash)
        assert low.end_hash + 1 == high.start_hash, "not neighbours"
        self._close(low, now_ms)
        self._close(high, now_ms)
        return self._add(low.start_hash, high.end_hash, parents=(parent, adjacent), now_ms=now_ms)

    def scale(self, target: int, *, now_ms: int) -> None:
        """Splits and merges until `target` equal ranges are open. Shards born on the way may close
        at once, as they do on AWS."""
        ranges = uniform_ranges(target)
        for start, _ in ranges:
            if (shard := self.owner_of(start)).start_hash != start:
                self.split(shard, start, now_ms=now_ms)
        for start, end in ranges:
            while (shard := self.owner_of(start)).end_hash != end:
                self.merge(shard, self.owner_of(shard.end_hash + 1), now_ms=now_ms)

    def expire(self, horizon_ms: int) -> None:
        """Forgets records that arrived, and shards that were closed, before `horizon_ms`."""
        for shard in tuple(self._shards.values()):
            if shard.was_open_after(horizon_ms):
                shard.trim(horizon_ms)
            else:
                del self._shards[shard.shard_id]

    def matching(self, wanted: ShardFilter, *, horizon_ms: int) -> Iterator[Shard]:
        """The shards that `ListShards` lists under a filter (whose values are present)."""
        at_ms, after = wanted.timestamp_ms or 0, wanted.shard_id or ""
        for shard in self._shards.values():
            match wanted.kind:
                case ShardFilterType.FROM_TRIM_HORIZON:
                    matches = True
                case ShardFilterType.AFTER_SHARD_ID:
                    matches = shard.shard_id > after
                case ShardFilterType.AT_LATEST:
                    matches = shard.closed_ms is None
                case ShardFilterType.AT_TRIM_HORIZON:
                    matches = shard.was_open_at(horizon_ms)
                case ShardFilterType.AT_TIMESTAMP:
                    matches = shard.was_open_at(at_ms)
                case ShardFilterType.FROM_TIMESTAMP:
                    matches = shard.was_open_after(at_ms)
            if matches:
                yield shard

    def _add(
        self, start_hash: int, end_hash: int, *, parents: tuple[Shard, ...], now_ms: int
    ) -> Shard:
        shard = Shard(
            index=self._shards_ever,
            start_hash=start_hash,
            end_hash=end_hash,
            opened_ms=now_ms,
            created_s=max([now_ms // 1_000, *(parent.created_s + 1 for parent in parents)]),
            parents=tuple(parent.shard_id for parent in parents),
        )
        self._shards_ever += 1
        self._shards[shard.shard_id] = shard
        insort(self._open, shard, key=_start_hash)
        for parent in parents:
            parent.children = (*parent.children, shard.shard_id)
        return shard

    def _close(self, shard: Shard, now_ms: int) -> None:
        shard.closed_ms = now_ms
        self._open.remove(shard)
