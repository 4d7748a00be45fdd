"""Applies the effect of one batch, and its position, inside one transaction (P2).

Folding is idempotent and its order does not matter: recency is a maximum, facts of the address book
keep their times, positions never go back. So a batch that is read again after a crash changes
nothing. An activity closes the episodes whose silence it ends (P3); a conversion told in the
same batch is credited all the same.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum

from worker.model import (
    Activity,
    Applied,
    Batch,
    Channel,
    DeadLetter,
    Effect,
    EpisodeOutcome,
    Position,
    Reason,
)
from worker.receipts import whose_message
from worker.store import statements
from worker.store.addressbook import (
    Changes,
    anonymous_user_of,
    hash_of,
    write_endpoints,
    write_stops,
)
from worker.store.connection import want
from worker.store.conversions import credit_conversions
from worker.store.forgotten import without_forgotten
from worker.store.journal import closing, tell
from worker.store.receipts import senders_of, stop_messages, tell_receipts
from worker.store.touches import Touches

DEAD_LETTERS_MAX = 100_000
"""Rows kept; beyond it the oldest go."""

DEAD_LETTER_BYTES_MAX = 16 * 1024
"""Of each record, its beginning; `bytes` tells how long it was."""


class Incident(StrEnum):
    """What the store met besides its work; counted for the metrics."""

    DEAD_LETTER_DROPPED = "dead_letter_dropped"
    LOOK_FAILED = "look_failed"
    POSITION_BEHIND = "position_behind"
    STREAM_RECREATED = "stream_recreated"
    USER_MERGED = "user_merged"


def apply_effect(
    connection: sqlite3.Connection,
    effect: Effect,
    batch: Batch,
    *,
    now_ms: int,
    rearm_after_ms: int | None,
    count: Callable[[Incident, int], None],
    touches: Touches,
    wall_ms: int,
) -> Applied:
    """Writes what a batch changes; `rearm_after_ms` None means that no rule waits for anybody.

    Raises StaleFaces; then nothing was written.
    """
    touches.begin(connection, effect.touches)
    born = connection.execute(statements.STREAM_BORN, (batch.stream.name,)).fetchone()
    assert born is not None
    assert born[0] == batch.stream.created_ms, "positions() has not been asked about this stream"
    moments = {"now_ms": now_ms, "rearm_after_ms": rearm_after_ms}
    effect = without_forgotten(connection, effect)
    touched = touches.take(connection, effect.touches, wall_ms=wall_ms)
    changes = write_endpoints(connection, effect.endpoints, touches)
    look_again = changes.owners | write_stops(connection, effect.stops)
    look_again |= stop_messages(connection, effect.stops)
    seen, unknown = _resolve(connection, effect.activities)
    count(Incident.USER_MERGED, _merge(connection, changes, seen, now_ms))
    touches.catch_up_users(connection, list(changes.named.values()))
    returned = _close_returned(connection, seen, now_ms)
    new, active = _move_recency(connection, rearm_after_ms) if seen else (0, 0)
    matched, concerned = tell_receipts(connection, effect.receipts)
    look_again |= concerned
    if look_again:
        touches.catch_up_users(connection, list(look_again))
        want(connection, look_again)
        connection.execute(statements.LOOK_AGAIN, moments)
    credited = credit_conversions(connection, effect.conversions, now_ms=now_ms)
    told = {endpoint.endpoint_id for endpoint in effect.endpoints}
    calm = {
        key: shown
        for key, shown in effect.faces.items()
        if key in changes.newest or key not in told
    }
    touches.learn(connection, calm, rearm_after_ms=rearm_after_ms)
    behind = _move_position(connection, batch)
    count(Incident.POSITION_BEHIND, behind)
    if not behind:
        dropped = _bury(connection, batch.stream.name, effect.dead_letters)
        count(Incident.DEAD_LETTER_DROPPED, dropped)
    return Applied(
        users_active=active + touched,
        users_new=new,
        episodes_returned=returned,
        receipts_matched=matched,
        activities_unknown=unknown,
        conversions_credited=credited,
    )


def _resolve(
    connection: sqlite3.Connection, activities: Sequence[Activity]
) -> tuple[dict[str, int], int]:
    """User to the time of the latest activity, and how many activities nobody is known for.

    A mail address may be shared: then everybody behind it counts as active, for the click proves
    that somebody was there, and the mistake it can make is a message not sent.
    """
    named = [a for a in activities if a.user_id is None]
    owners = _owners(
        connection, statements.OWNERS_BY_ENDPOINT, (a.endpoint_id for a in named if a.endpoint_id)
    )
    senders = senders_of(connection, (a.message_id for a in named if a.message_id))
    holders = _owners(
        connection,
        statements.OWNERS_BY_ADDRESS,
        (hash_of(Channel.EMAIL, a.address) for a in named if a.address),
    )

    def users_of(activity: Activity) -> Iterable[str]:
        if activity.user_id is not None:
            return (activity.user_id,)
        if activity.endpoint_id in owners:
            return owners[activity.endpoint_id]
        if activity.message_id is not None and activity.message_id in senders:
            return whose_message(senders[activity.message_id], activity)
        if activity.address and (key := hash_of(Channel.EMAIL, activity.address)) in holders:
            return holders[key]
        if activity.endpoint_id is not None:
            return (anonymous_user_of(activity.endpoint_id),)
        return ()

    seen: dict[str, int] = {}
    unknown = 0
    for activity in activities:
        users = users_of(activity)
        unknown += not users
        for user_id in users:
            seen[user_id] = max(seen.get(user_id, activity.at_ms), activity.at_ms)
    return seen, unknown


def _owners(
    connection: sqlite3.Connection, statement: str, keys: Iterable[str]
) -> dict[str | None, set[str]]:
    wanted = set(keys)
    owners: dict[str | None, set[str]] = defaultdict(set)
    if wanted:
        want(connection, wanted)
        for key, owner in connection.execute(statement):
            owners[key].add(owner)
    return dict(owners)


def _merge(
    connection: sqlite3.Connection, changes: Changes, seen: dict[str, int], now_ms: int
) -> int:
    """Anonymous users who now have a name become that user: recency, ladders, sends and story move
    over, so that nobody is written to twice for one silence. Adds to `seen`; returns how many
    there were."""
    if not changes.named:
        return 0
    want(connection, changes.named)
    strangers = connection.execute(statements.RECENCY_WANTED).fetchall()
    for stranger, last_active_ms in strangers:
        user_id = changes.named[stranger]
        names = {"stranger": stranger, "user_id": user_id, "now_ms": now_ms}
        closed = connection.execute(statements.CLOSE_MERGED, names).fetchall()
        tell(
            connection,
            (
                closing(row, reason=Reason.MERGED, outcome=EpisodeOutcome.CANCELLED, at_ms=now_ms)
                for row in closed
            ),
        )
        connection.execute(statements.MOVE_EPISODES, names)
        connection.execute(statements.MOVE_CLAIMS, names)
        connection.execute(statements.MOVE_JOURNAL, names)
        seen[user_id] = max(seen.get(user_id, last_active_ms), last_active_ms)
    want(connection, (stranger for stranger, _ in strangers))
    connection.execute(statements.FORGET_USERS_WANTED)
    return len(strangers)


def _close_returned(connection: sqlite3.Connection, seen: dict[str, int], now_ms: int) -> int:
    """Fills the `seen` table, and closes the episodes whose silence it ends; returns how many."""
    connection.execute(statements.SEE_NOBODY)
    # In key order, so that neighbours are written to the same page one after the other.
    connection.executemany(statements.SEE, sorted(seen.items()))
    if not seen:
        return 0
    closed = connection.execute(statements.CLOSE_RETURNED, {"now_ms": now_ms}).fetchall()
    tell(
        connection,
        (
            closing(row, reason=Reason.ACTIVE_AGAIN, outcome=EpisodeOutcome.RETURNED, at_ms=now_ms)
            for row in closed
        ),
    )
    return len(closed)


def _move_recency(connection: sqlite3.Connection, rearm_after_ms: int | None) -> tuple[int, int]:
    """Moves the recency of those in `seen`. Returns how many users are new, and of how many it
    moved (the new ones too); a late or repeated activity moves nobody's."""
    connection.execute(statements.FORGET_UNMOVED)
    new: int = connection.execute(statements.COUNT_NEW_USERS).fetchone()[0]
    moments = {"rearm_after_ms": rearm_after_ms}
    moved = connection.execute(statements.MOVE_RECENCY, moments).rowcount
    if rearm_after_ms is not None:
        connection.execute(statements.BRING_FORWARD, moments)
    return new, moved


def _move_position(connection: sqlite3.Connection, batch: Batch) -> bool:
    """True when the stored position is further than the batch: a position never moves back. An
    ended shard stays ended."""
    name, new = batch.stream.name, batch.position
    row = connection.execute(statements.POSITION, (name, new.shard_id)).fetchone()
    old = position_of(row) if row else Position(shard_id=new.shard_id)
    ahead = _number(new) >= _number(old)
    connection.execute(
        statements.PUT_POSITION,
        (
            name,
            new.shard_id,
            new.sequence_number if ahead else old.sequence_number,
            new.start_at_ms if new.start_at_ms is not None else old.start_at_ms,
            old.ended or new.ended,
        ),
    )
    # Without a sequence number the batch says nothing about how far the shard was read.
    return not ahead and new.sequence_number is not None


def position_of(row: tuple[str, str | None, int | None, int]) -> Position:
    """A row of POSITIONS."""
    shard_id, sequence_number, start_at_ms, ended = row
    return Position(
        shard_id=shard_id,
        sequence_number=sequence_number,
        start_at_ms=start_at_ms,
        ended=bool(ended),
    )


def _number(position: Position) -> int:
    """Sequence numbers are compared as integers; before the first one comes none."""
    return -1 if position.sequence_number is None else int(position.sequence_number)


def _bury(connection: sqlite3.Connection, stream: str, letters: Sequence[DeadLetter]) -> int:
    """Keeps dead letters; returns how many older ones had to go."""
    if not letters:
        return 0
    connection.executemany(statements.BURY, (_letter_row(stream, x) for x in letters))
    return connection.execute(statements.TRIM_DEAD_LETTERS, (DEAD_LETTERS_MAX,)).rowcount


def _letter_row(stream: str, letter: DeadLetter) -> tuple[str | int | bytes, ...]:
    return (
        letter.arrival_ms,
        stream,
        letter.shard_id,
        letter.sequence_number,
        letter.reason,
        letter.detail,
        len(letter.data),
        letter.data[:DEAD_LETTER_BYTES_MAX],
    )
