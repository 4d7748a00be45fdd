"""Erases one person from a state file, also while its worker runs.

What goes: recency, endpoints with their addresses and attributes, episodes, sends, journal, and the
unreadable records that name the person. What stays: digests. One of each address that wants
nothing, so that an opt-out is not lost; and the tombstone, which keeps the past from coming back
(forgotten.py). A call that is under way cannot be called back: its send and its episode stay until
they are pruned, under a name that is nobody's.

The pages that held it are overwritten (`secure_delete`); copies of the file know it still.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from worker.model import CHANNEL_OF_TYPE, DAY_MS, Channel, StopReason, anonymous_user_of
from worker.ports import Clock
from worker.store import custody_statements as custody
from worker.store import statements
from worker.store.beside import connected_beside, writing_beside
from worker.store.forgotten import NOBODY, endpoint_digest, user_digest
from worker.store.touches import erase_touches

TOMBSTONES_KEPT_MS = 400 * DAY_MS
"""No stream keeps records for longer than 365 days."""

DEAD_LETTERS_AT_ONCE = 1_000
"""Rows of one read, at most 16 MiB: the worker's log is not held up between them."""

ANONYMOUS = anonymous_user_of("")

WORD_CHARACTERS_MIN = 8
"""A shorter id is looked for in quotes only: `7` is in every record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """What was erased, in rows."""

    users: int = 0
    """1 or 0, and one for each of the person's phones that once had a story of its own."""
    endpoints: int = 0
    opt_outs_kept: int = 0
    """Addresses that stay suppressed, by their digest."""
    episodes: int = 0
    claims: int = 0
    under_way: int = 0
    """Sends whose call was under way: kept under no name until they are pruned."""
    journal: int = 0
    dead_letters: int = 0

    @property
    def knew_something(self) -> bool:
        """Was there anything at all?"""
        return any(getattr(self, name) for name in self.__slots__)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One endpoint of the person, as ENDPOINTS_OF answers."""

    endpoint_id: str
    address: str | None
    address_hash: str | None
    channel_type: str | None
    opted_out: int | None
    at_ms: int

    @property
    def stop(self) -> tuple[str, Channel, StopReason, int] | None:
        """A row of `suppressions`, when the person opted out there."""
        channel = CHANNEL_OF_TYPE.get(self.channel_type or "")
        if not self.opted_out or self.address_hash is None or channel is None:
            return None
        return (self.address_hash, channel, StopReason.OPTED_OUT, self.at_ms)


def forget(path: str, user_id: str, *, clock: Clock) -> Forgotten:
    """Erases a user by id and leaves the tombstone, also when nothing was known.

    Raises what `writing_beside` does; then nothing was changed. Durable when it returns.
    """
    with connected_beside(path) as connection:
        letters = _letters_naming(connection, _words_of(connection, user_id))
    with writing_beside(path) as connection:
        now_ms = clock.now_ms()
        connection.execute(custody.PRUNE_FORGOTTEN, (now_ms - TOMBSTONES_KEPT_MS,))
        return erase(connection, user_id, now_ms=now_ms, dead_letters=letters)


def erase(
    connection: sqlite3.Connection,
    user_id: str,
    *,
    now_ms: int,
    dead_letters: Sequence[int] = (),
) -> Forgotten:
    """Erases a user in the caller's transaction, and these dead letters with it."""
    connection.execute("PRAGMA secure_delete = ON")
    entries = _entries_of(connection, user_id)
    stops = [stop for entry in entries if (stop := entry.stop) is not None]
    connection.executemany(statements.PUT_SUPPRESSION, stops)
    endpoint_ids = [entry.endpoint_id for entry in entries]
    names = [user_id, *map(anonymous_user_of, endpoint_ids)]
    stories = [_erase_story(connection, name, now_ms) for name in names]
    endpoints = _many(connection, custody.DROP_ENDPOINT, endpoint_ids)
    erase_touches(connection, set(endpoint_ids))
    letters = _many(connection, custody.DROP_DEAD_LETTER, dead_letters)
    phones = set(endpoint_ids)
    if user_id.startswith(ANONYMOUS):
        phones.add(user_id.removeprefix(ANONYMOUS))
    digests = {user_digest(user_id), *map(endpoint_digest, phones)}
    connection.executemany(custody.PUT_FORGOTTEN, ((digest, now_ms) for digest in digests))
    return Forgotten(
        users=sum(story.users for story in stories),
        endpoints=endpoints,
        opt_outs_kept=len(stops),
        episodes=sum(story.episodes for story in stories),
        claims=sum(story.claims for story in stories),
        under_way=sum(story.under_way for story in stories),
        journal=sum(story.journal for story in stories),
        dead_letters=letters,
    )


def _erase_story(connection: sqlite3.Connection, user_id: str, now_ms: int) -> Forgotten:
    """Everything that happened to a user id."""
    claims = episodes = under_way = 0
    rows = connection.execute(custody.EPISODES_OF, {"user_id": user_id}).fetchall()
    for (episode_id,) in rows:
        claims += connection.execute(custody.DROP_CLAIMS_SETTLED, (episode_id,)).rowcount
        flying = connection.execute(custody.CLAIMS_UNDER_WAY, (episode_id,)).fetchone()[0]
        if flying:
            nobody = {
                "nobody": f"{NOBODY}{episode_id}",
                "episode_id": episode_id,
                "now_ms": now_ms,
            }
            connection.execute(custody.DISOWN_CLAIMS, nobody)
            connection.execute(custody.DISOWN_EPISODE, nobody)
        else:
            connection.execute(custody.DROP_EPISODE, (episode_id,))
        under_way += flying
        episodes += 1
    return Forgotten(
        users=connection.execute(custody.DROP_USER, (user_id,)).rowcount,
        episodes=episodes,
        claims=claims,
        under_way=under_way,
        journal=connection.execute(custody.DROP_JOURNAL, (user_id,)).rowcount,
    )


def _entries_of(connection: sqlite3.Connection, user_id: str) -> list[_Entry]:
    return [_Entry(*row) for row in connection.execute(custody.ENDPOINTS_OF, (user_id,))]


def _words_of(connection: sqlite3.Connection, user_id: str) -> list[bytes]:
    """What a record that names the person has in it, in lower case: endpoint ids are kept so."""
    words = {user_id}
    for entry in _entries_of(connection, user_id):
        words.add(entry.endpoint_id)
        words.update(() if entry.address is None else (entry.address,))
    spelt = {
        json.dumps(word.lower(), ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
        for word in words
        for ascii_only in (True, False)
    }
    return sorted(
        word[1:-1] if len(word) >= WORD_CHARACTERS_MIN + len('""') else word for word in spelt
    )


def _letters_naming(connection: sqlite3.Connection, words: Sequence[bytes]) -> list[int]:
    """The dead letters that name the person; read piece by piece, holding nobody up."""
    return [
        number
        for number, data in _letters(connection.execute)
        if any(word in data.lower() for word in words)
    ]


def _letters(
    execute: Callable[..., sqlite3.Cursor],
) -> Iterator[tuple[int, bytes]]:
    first = execute(custody.FIRST_DEAD_LETTER).fetchone()[0]
    last = execute(custody.LAST_DEAD_LETTER).fetchone()[0]
    if first is None:
        return
    for begin in range(first, last + 1, DEAD_LETTERS_AT_ONCE):
        piece = (begin, begin + DEAD_LETTERS_AT_ONCE)
        yield from execute(custody.DEAD_LETTERS_BETWEEN, piece).fetchall()


def _many(connection: sqlite3.Connection, statement: str, keys: Sequence[str | int]) -> int:
    return sum(connection.execute(statement, (key,)).rowcount for key in keys)
