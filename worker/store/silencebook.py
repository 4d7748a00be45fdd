"""Silences in the state: written by people beside the worker, read by the worker before each sweep.

`SilenceBook` writes beside the worker, one transaction of less than a millisecond (beside.py).
`SilencesStanding` is the worker's side: it asks SQLite whether anybody else wrote, and reads again
only then. What a silence fits is not known here (silences.py).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from worker.errors import UsageError
from worker.model import DAY_MS, Silence, SilenceKind
from worker.ports import Clock
from worker.store import policy_statements
from worker.store.beside import connected_beside, writing_beside
from worker.store.connection import Database

SILENCES_STANDING_MAX = 1_000
"""Each is held against every due stage."""

SILENCES_KEPT_MS = 400 * DAY_MS
"""After their end."""

MATCHERS_MAX = 50
TEXT_CHARACTERS_MAX = 1_000
"""Of an author, a comment, a matcher."""


class SilenceBook:
    """Adds and ends silences of a state file, also while its worker runs.

    Every call raises UsageError when there is no such file or the request cannot be kept, TryLater
    when a worker has yet to bring the file to this version, StateInUse when somebody holds the
    file's write lock for long, StateUnwritable, StateDamaged, StateTooNew. A change is
    durable when the call returns, and in force at the worker's next sweep.
    """

    def __init__(self, path: str, *, clock: Clock) -> None:
        self._path = path
        self._clock = clock

    def add(
        self,
        kind: SilenceKind,
        matchers: Sequence[str],
        *,
        ends_ms: int | None,
        author: str,
        comment: str,
    ) -> Silence:
        """A silence from now on, until `ends_ms` or, with None, until somebody ends it."""
        silence = Silence(
            silence_id=0,
            kind=kind,
            matchers=tuple(matchers),
            begins_ms=self._clock.now_ms(),
            ends_ms=ends_ms,
            author=author,
            comment=comment,
        )
        with writing_beside(self._path) as connection:
            return add_silence(connection, silence)

    def end(self, silence_id: int, *, author: str) -> Silence:
        """Ends a silence now; one that has ended already stays as it is. The row is kept."""
        with writing_beside(self._path) as connection:
            return end_silence(connection, silence_id, author=author, now_ms=self._clock.now_ms())

    def all(self, limit: int) -> tuple[Silence, ...]:
        """The last silences, ended ones too, newest first."""
        with connected_beside(self._path) as connection:
            rows = connection.execute(policy_statements.ALL_SILENCES, (limit,)).fetchall()
        return tuple(map(silence_of, rows))


class SilencesStanding:
    """The silences that have not ended, as the worker's connection sees them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._version: int | None = None
        self._ends_ms: int | None = None
        """When the first of `_standing` ends."""
        self._standing: tuple[Silence, ...] = ()

    def at(self, now_ms: int) -> tuple[Silence, ...]:
        """The same object for as long as nothing changed."""
        version = self._database.foreign_version()
        ended = self._ends_ms is not None and self._ends_ms <= now_ms
        if version != self._version or ended:
            with self._database.snapshot() as connection:
                standing = read_standing(connection, now_ms)
            if standing != self._standing:
                self._standing = standing
            self._version = version
            self._ends_ms = min(
                (s.ends_ms for s in standing if s.ends_ms is not None), default=None
            )
        return self._standing

    def forget(self) -> None:
        """Reads again next time: this connection itself wrote."""
        self._version = None


def read_standing(connection: sqlite3.Connection, now_ms: int) -> tuple[Silence, ...]:
    """The silences that have not ended, oldest first."""
    rows = connection.execute(policy_statements.SILENCES_STANDING, (now_ms,)).fetchall()
    return tuple(map(silence_of, rows))


def add_silence(connection: sqlite3.Connection, silence: Silence) -> Silence:
    """Writes a silence and returns it with its id. Raises UsageError when it would not be kept
    whole, has ended before it begins, or is one too many."""
    _require_bounds(silence)
    standing: int = connection.execute(
        policy_statements.COUNT_SILENCES, (silence.begins_ms,)
    ).fetchone()[0]
    if standing >= SILENCES_STANDING_MAX:
        raise UsageError(
            f"{standing:,} silences are in force, and no more than {SILENCES_STANDING_MAX:,} can "
            "be. End some, or write one whose matchers fit more."
        )
    row = (
        silence.kind,
        msgspec.json.encode(silence.matchers).decode(),
        silence.begins_ms,
        silence.ends_ms,
        silence.author,
        silence.comment,
    )
    silence_id = connection.execute(policy_statements.ADD_SILENCE, row).lastrowid
    assert silence_id is not None
    return replace(silence, silence_id=silence_id)


def end_silence(
    connection: sqlite3.Connection, silence_id: int, *, author: str, now_ms: int
) -> Silence:
    """Ends a silence and returns it. Raises UsageError when there is none with this id."""
    connection.execute(
        policy_statements.END_SILENCE,
        {"silence_id": silence_id, "author": author[:TEXT_CHARACTERS_MAX], "now_ms": now_ms},
    )
    row = connection.execute(policy_statements.SILENCE, (silence_id,)).fetchone()
    if row is None:
        raise UsageError(
            f"There is no silence {silence_id}. List the silences to see their numbers."
        )
    return silence_of(row)


def prune_silences(connection: sqlite3.Connection, now_ms: int) -> int:
    """Forgets silences that ended long ago; returns how many."""
    before = (now_ms - SILENCES_KEPT_MS,)
    return connection.execute(policy_statements.PRUNE_SILENCES, before).rowcount


def silence_of(row: Sequence[Any]) -> Silence:
    """A row of SILENCE_COLUMNS."""
    return Silence(
        silence_id=row[0],
        kind=SilenceKind(row[1]),
        matchers=msgspec.json.decode(row[2], type=tuple[str, ...]),
        begins_ms=row[3],
        ends_ms=row[4],
        author=row[5],
        comment=row[6],
    )


def _require_bounds(silence: Silence) -> None:
    if silence.ends_ms is not None and silence.ends_ms <= silence.begins_ms:
        raise UsageError(
            "The silence would have ended before it begins. Name an end in the future."
        )
    if len(silence.matchers) > MATCHERS_MAX:
        raise UsageError(
            f"The silence has {len(silence.matchers)} matchers, and no more than {MATCHERS_MAX} "
            "are kept. A regular expression can stand for several."
        )
    texts = {
        "author": (silence.author,),
        "comment": (silence.comment,),
        "matcher": silence.matchers,
    }
    for what, values in texts.items():
        longest = max(map(len, values), default=0)
        if longest > TEXT_CHARACTERS_MAX:
            raise UsageError(
                f"The {what} has {longest:,} characters, and no more than "
                f"{TEXT_CHARACTERS_MAX:,} are kept. Shorten it."
            )
