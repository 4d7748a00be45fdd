"""Which shards may be read now, and where each begins: the rules of resharding, as plain functions.

Pure: the shards come from `stream.py` (ListShards), the positions from the store; `source.py` does
what the plan says. The rules:

- A shard is read when every parent still in the list is at SHARD_END. A parent that is not in the
  list has expired with all its records, so it holds nobody up, however far down its children are.
- A merge has two parents, and both count.
- A closed shard that was not read to its end is work like any other.
- Only the very first start of a stream begins where the settings say. Every shard that appears
  later is read from its trim horizon, for its records were written while this worker was
  responsible for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from worker.model import Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One shard as ListShards tells it. `closed`: nothing more will be written to it."""

    shard_id: str
    parent_ids: tuple[str, ...] = ()
    closed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do with the shards of one listing."""

    readable: tuple[Position, ...] = ()
    """Where to begin each shard that may be read now; shards at SHARD_END are left out."""
    waiting: tuple[str, ...] = ()
    """Shards whose parents have unread records."""
    expired: tuple[str, ...] = ()
    """Shards that were not read to their end and are no longer listed: their rest is gone."""


def plan(shards: Sequence[Shard], positions: Mapping[str, Position]) -> Plan:
    """Sorts the listed shards by what may be done with them now.

    `positions` are the durable ones, by shard id.
    """
    listed = {shard.shard_id for shard in shards}
    ended = {shard_id for shard_id, position in positions.items() if position.ended}
    readable: list[Position] = []
    waiting: list[str] = []
    for shard in shards:
        if shard.shard_id in ended:
            continue
        if all(parent in ended or parent not in listed for parent in shard.parent_ids):
            readable.append(positions.get(shard.shard_id) or Position(shard_id=shard.shard_id))
        else:
            waiting.append(shard.shard_id)
    return Plan(
        readable=tuple(readable),
        waiting=tuple(waiting),
        expired=tuple(sorted(positions.keys() - ended - listed)),
    )


def first_positions(
    shards: Iterable[Shard], positions: Mapping[str, Position], *, start_at_ms: int | None
) -> tuple[Position, ...]:
    """The positions to make durable before any shard is read: a first start must be remembered.

    Without this a crash before the first record would turn LATEST into a later LATEST. All shards
    of the first listing begin at `start_at_ms` (None: the trim horizon), children too: a parent
    that was closed before that time says nothing about how much of its children lies before it.

    When a first start was cut short, before any shard was read, the stored time is completed, not
    taken anew; a shard that was born after that time holds nothing older. Afterwards: nothing.
    """
    if any(position.sequence_number or position.ended for position in positions.values()):
        return ()
    if positions:
        stored = (position.start_at_ms for position in positions.values())
        start_at_ms = next((at_ms for at_ms in stored if at_ms is not None), None)
    return tuple(
        Position(shard_id=shard.shard_id, start_at_ms=start_at_ms)
        for shard in shards
        if shard.shard_id not in positions
    )


def children(shards: Iterable[Shard]) -> Mapping[str, Sequence[str]]:
    """Parent to its listed children; shards without any are left out."""
    found: dict[str, list[str]] = {}
    for shard in shards:
        for parent in shard.parent_ids:
            found.setdefault(parent, []).append(shard.shard_id)
    return found


def closed(shards: Iterable[Shard]) -> frozenset[str]:
    """The shards that get no more records: they say so, or they have children."""
    shards = tuple(shards)
    return frozenset(shard.shard_id for shard in shards if shard.closed) | children(shards).keys()
