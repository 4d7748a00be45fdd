"""The state as people read it: `explain`, `state`, `plan`, also while the worker runs.

Opens the file read-only and never takes its lock. A query that is open keeps the worker's log from
being written back, so every reader has `READ_SECONDS_MAX` for each call and is then cut off.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from worker.addresses import normalise_address
from worker.errors import StateInUse, TryLater
from worker.model import (
    DAY_MS,
    Claim,
    DeadLetter,
    DeadReason,
    Position,
    RetiredRule,
    Silence,
    Spend,
    UserView,
    address_hash_of,
)
from worker.ports import Clock
from worker.store import queries, statements
from worker.store.connection import (
    check_current,
    require_file,
    require_sqlite,
    translated,
    want,
)
from worker.store.intake import position_of
from worker.store.journal import JournalEntry
from worker.store.migrations import SCHEMA_VERSION
from worker.store.rulesets import read_files_in_force, read_in_force, read_retired
from worker.store.silencebook import read_standing
from worker.store.spends import read_spends
from worker.store.touches import show_touched
from worker.store.views import claim_of, read_views

READ_SECONDS_MAX = 10.0
STEPS_BETWEEN_CHECKS = 10_000
"""Instructions of SQLite's machine between two looks at the time; well below a millisecond."""

UNCERTAIN_LISTED = 100
"""Uncertain sends a summary lists when not asked for more."""
ATTRIBUTES_SAMPLED_MAX = 20_000
"""Endpoints whose attribute names are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendRecord:
    """A claim with what became of it."""

    claim: Claim
    detail: str | None
    message_id: str | None
    settled_ms: int | None
    receipt: str | None
    receipt_detail: str | None
    receipt_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSummary:
    """The state in numbers. Keys of the mappings are in the order of their names."""

    path: str
    file_bytes: int
    schema_version: int
    revision: str | None
    adopted_ms: int | None
    users: int
    users_active: dict[int, int]
    """Days to how many users were active in so many last days: 1, 7, 30."""
    next_due_ms: int | None
    episodes_open: dict[tuple[str, str | None, str | None], int]
    """(rule, stage, hold) to number."""
    outcomes: dict[tuple[str, str], int]
    """(rule, outcome) to number of the episodes that ended and are still kept."""
    claims: dict[tuple[str, str], int]
    """(state, channel) to number."""
    uncertain: tuple[SendRecord, ...]
    """The latest ones, as many as were asked for."""
    positions: tuple[tuple[str, Position], ...]
    """Stream name and position."""
    dead_letters: dict[str, int]
    """Reason to number kept."""
    silences: tuple[Silence, ...]
    """Those that have not ended, oldest first."""
    spent_today: dict[str, int]
    """Channel to millionths of the currency, of claims made since midnight UTC."""
    conversions: dict[tuple[str, str, str | None], tuple[int, int]]
    """(rule, arm, stage) to how many episodes, and how many of them converted. An episode is at the
    stage that has its conversion, else at the last that was sent."""


class StateReader:
    """Read-only look at a state file. A context manager; `close` releases the file."""

    def __init__(self, path: str, *, clock: Clock) -> None:
        """Raises UsageError when there is no such file, StateDamaged, StateTooNew, and TryLater
        when a worker has yet to bring the file to this version."""
        require_sqlite()
        require_file(path)
        self._path = path
        self._clock = clock
        self._deadline = 0.0
        with translated(path):
            self._connection = open_read_only(path)
            try:
                self._connection.set_progress_handler(self._late, STEPS_BETWEEN_CHECKS)
                self._check()
                prepare(self._connection)
            except BaseException:
                self._connection.close()
                raise

    def __enter__(self) -> StateReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Releases the file."""
        self._connection.close()

    def user(self, user_id: str) -> UserView | None:
        """What a look would see, with all sends still kept; None when nothing is known."""
        with self._reading() as connection:
            view = read_views(connection, [user_id], sends_since_ms=0)[user_id]
        return None if view == UserView(user_id=user_id, last_active_ms=None) else view

    def users(self, after: str, limit: int) -> tuple[UserView, ...]:
        """The views of the next users after a user id ("" for the first), in the order of their
        ids. One short read: going through millions of users holds nobody up."""
        with self._reading() as connection:
            rows = connection.execute(queries.USERS_AFTER, (after, limit)).fetchall()
            views = read_views(connection, [row[0] for row in rows], sends_since_ms=0)
        return tuple(views.values())

    def views(self, user_ids: Sequence[str]) -> tuple[UserView, ...]:
        """The views of these users, in their order."""
        with self._reading() as connection:
            views = read_views(connection, user_ids, sends_since_ms=0)
        return tuple(views[user_id] for user_id in user_ids)

    def recency(self, after: str, limit: int) -> tuple[tuple[str, int, bool], ...]:
        """(user id, last_active_ms, is on a ladder) of the next users, as `users` goes on; much
        cheaper than their views."""
        with self._reading() as connection:
            rows = connection.execute(queries.RECENCY_AFTER, (after, limit)).fetchall()
        return tuple((row[0], row[1], bool(row[2])) for row in rows)

    def attribute_names(self) -> tuple[frozenset[str], frozenset[str]]:
        """The names of user attributes and of endpoint attributes that the newest endpoints have,
        at most `ATTRIBUTES_SAMPLED_MAX` of them."""
        with self._reading() as connection:
            rows = connection.execute(queries.ATTRIBUTES, (ATTRIBUTES_SAMPLED_MAX,)).fetchall()
        of_endpoints, of_users = zip(*rows, strict=True) if rows else ((), ())
        return _names(of_users), _names(of_endpoints)

    def silences(self) -> tuple[Silence, ...]:
        """Those that have not ended, oldest first."""
        with self._reading() as connection:
            return read_standing(connection, self._clock.now_ms())

    def rule_set_in_force(self) -> Mapping[str, bytes] | None:
        """The files of the rule set in force, by name within the rules folder; None when there is
        none yet, or its files were not kept (adopted by an earlier version, or too large)."""
        with self._reading() as connection:
            return read_files_in_force(connection)

    def retired(self, rules: Mapping[str, str]) -> tuple[RetiredRule, ...]:
        """The ladders open episodes began with, other than those of `rules`, which maps a rule to
        its revision; those whose files are kept."""
        with self._reading() as connection:
            return tuple(read_retired(connection, rules))

    def spends(self, since_ms: int) -> tuple[Spend, ...]:
        """What claims have cost, in spans that end after `since_ms`."""
        with self._reading() as connection:
            return tuple(read_spends(connection, since_ms))

    def find(self, word: str) -> tuple[str, ...]:
        """The users a word stands for: a user id, else an endpoint id, else an address."""
        with self._reading() as connection:
            want(connection, [word])
            if connection.execute(statements.RECENCY_WANTED).fetchone():
                return (word,)
            if connection.execute(statements.ENDPOINTS_OF_OWNERS).fetchone():
                return (word,)
            want(connection, [word.lower()])
            found = connection.execute(statements.OWNERS_BY_ENDPOINT).fetchall()
            if not found:
                spellings = {normalise_address(kind, word) for kind in ("EMAIL", "SMS", None)}
                want(connection, map(address_hash_of, spellings))
                found = connection.execute(statements.OWNERS_BY_ADDRESS).fetchall()
            return tuple(sorted({owner for _, owner in found}))

    def journal_of(self, user_id: str, limit: int) -> tuple[JournalEntry, ...]:
        """The last entries of a user, newest first."""
        with self._reading() as connection:
            rows = connection.execute(queries.JOURNAL_OF, (user_id, limit)).fetchall()
        names = statements.JOURNAL_COLUMNS.split(", ")
        return tuple(JournalEntry(**dict(zip(names, row, strict=True))) for row in rows)

    def claims_of(self, user_id: str, limit: int) -> tuple[SendRecord, ...]:
        """The last sends of a user, newest first."""
        with self._reading() as connection:
            rows = connection.execute(queries.CLAIMS_OF, (user_id, limit)).fetchall()
        return tuple(map(_send_record, rows))

    def dead_letters(self, limit: int) -> tuple[DeadLetter, ...]:
        """The last records nobody could read, newest first; `data` is their beginning."""
        with self._reading() as connection:
            rows = connection.execute(queries.DEAD_LETTERS, (limit,)).fetchall()
        return tuple(
            DeadLetter(
                arrival_ms=row[0],
                shard_id=row[2],
                sequence_number=row[3],
                reason=DeadReason(row[4]),
                detail=row[5],
                data=row[7],
            )
            for row in rows
        )

    def summary(self, *, now_ms: int, uncertain_max: int = UNCERTAIN_LISTED) -> StateSummary:
        """Everything in numbers, all of one moment. Reads every user's row once."""
        with self._reading() as connection:
            in_force = read_in_force(connection)
            users, *active = connection.execute(
                queries.RECENCY_BANDS, {"now_ms": now_ms, "day_ms": DAY_MS}
            ).fetchone()
            uncertain = connection.execute(queries.UNCERTAIN_CLAIMS, (uncertain_max,)).fetchall()
            positions = connection.execute(queries.ALL_POSITIONS).fetchall()
            return StateSummary(
                path=self._path,
                file_bytes=Path(self._path).stat().st_size,
                schema_version=SCHEMA_VERSION,
                revision=in_force.revision if in_force else None,
                adopted_ms=in_force.adopted_ms if in_force else None,
                users=users,
                users_active=dict(zip((1, 7, 30), active, strict=True)),
                next_due_ms=connection.execute(statements.NEXT_DUE).fetchone()[0],
                episodes_open={
                    row[:3]: row[3] for row in connection.execute(queries.EPISODES_OPEN_BY_STAGE)
                },
                outcomes={row[:2]: row[2] for row in connection.execute(queries.OUTCOMES)},
                claims={row[:2]: row[2] for row in connection.execute(queries.CLAIMS_BY_STATE)},
                uncertain=tuple(map(_send_record, uncertain)),
                positions=tuple((row[0], position_of(row[1:])) for row in positions),
                dead_letters=dict(connection.execute(queries.DEAD_LETTERS_BY_REASON).fetchall()),
                silences=read_standing(connection, now_ms),
                spent_today=dict(
                    connection.execute(queries.SPENT_SINCE, (now_ms - now_ms % DAY_MS,)).fetchall()
                ),
                conversions={row[:3]: row[3:] for row in connection.execute(queries.CONVERSIONS)},
            )

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """One snapshot of the state, for a bounded time."""
        self._deadline = self._clock.monotonic() + READ_SECONDS_MAX
        with translated(self._path):
            try:
                self._connection.execute("BEGIN")
                yield self._connection
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                    raise
                raise TryLater(
                    f"{self._path}: reading took longer than {READ_SECONDS_MAX:.0f} s and was cut "
                    "off, so that the worker is not held up. Try again when it has less to do, or "
                    "read a backup copy."
                ) from error
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def _check(self) -> None:
        self._deadline = self._clock.monotonic() + READ_SECONDS_MAX
        check_current(self._connection, self._path)

    def _late(self) -> bool:
        return self._clock.monotonic() > self._deadline


def prepare(connection: sqlite3.Connection) -> None:
    """Makes the tables that statements of the hot path need, and shows what is not folded yet."""
    connection.execute("PRAGMA temp_store = MEMORY")
    for table in statements.TEMPORARY_TABLES:
        connection.execute(table)
    show_touched(connection)


def open_read_only(path: str) -> sqlite3.Connection:
    """A connection that cannot write, beside a running worker or alone. A user who may not write
    beside the file can still read a file that was closed properly: then there is no log, and nobody
    to change it."""
    uri = f"file:{quote(path)}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None)
    try:
        connection.execute("PRAGMA schema_version").fetchone()
    except sqlite3.OperationalError as error:
        connection.close()
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
            raise
        if Path(f"{path}-wal").exists():
            raise StateInUse(
                f"{path}: was not closed properly, and reading it needs the right to write beside "
                "it. Run this command as the user of the worker, or start the worker."
            ) from error
        connection = sqlite3.connect(f"{uri}&immutable=1", uri=True, isolation_level=None)
    except BaseException:
        connection.close()
        raise
    return connection


def _names(texts: Sequence[str | None]) -> frozenset[str]:
    """The names in attributes as the columns hold them."""
    found: set[str] = set()
    for text in set(texts):
        if text is not None:
            found.update(msgspec.json.decode(text, type=dict[str, msgspec.Raw]))
    return frozenset(found)


def _send_record(row: Sequence[Any]) -> SendRecord:
    claim = claim_of(row)
    names = statements.SENT_COLUMNS.split(", ")
    return SendRecord(claim=claim, **dict(zip(names, row[-len(names) :], strict=True)))
