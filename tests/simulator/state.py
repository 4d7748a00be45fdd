"""The worker's own store, with the world's hand on its transactions.

A transaction may be the last thing a process does, just before its commit or just after it; the
disk may be full; and the machine may lose what was not synced. The store itself is unchanged.
"""

from __future__ import annotations

import os
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from worker.ports import Clock
from worker.store import statements
from worker.store.connection import Database, translated
from worker.store.lock import StateLock
from worker.store.sqlite import SqliteStore

WRITEBACK_SECONDS = 35.0
"""Linux writes dirty pages back when they are 30 s old, and looks every 5 s."""


class Hand(Protocol):
    """What decides about transactions."""

    def now(self) -> float:
        """Loop time."""

    def before_commit(self, verb: str) -> None:
        """May raise: nothing was written."""

    def after_commit(self, verb: str) -> None:
        """May raise: it is written."""

    def disk_full(self) -> bool:
        """Is there no room now?"""

    def wrote(self) -> None:
        """The state changed, perhaps also who is due when."""


class WatchedDatabase(Database):
    """Tells the hand of every transaction."""

    hand: Hand
    verb = "open"
    synced_bytes = 0
    """How much of the write-ahead log was made sure of."""
    commits: deque[tuple[float, int]]
    """Loop time of the last commits, and the length of the log after each."""

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """See Database."""
        if self.hand.disk_full():
            with translated(self.path):
                raise _full()
        with super().transaction(durable=durable) as connection:
            yield connection
            self.hand.before_commit(self.verb)
        self.note(synced=durable)
        self.hand.wrote()
        self.hand.after_commit(self.verb)

    def note(self, *, synced: bool) -> None:
        """The log has grown."""
        length, now = wal_bytes(self.path), self.hand.now()
        if synced:
            self.synced_bytes = length
            self.commits.clear()
        while self.commits and now - self.commits[0][0] > WRITEBACK_SECONDS:
            self.synced_bytes = self.commits.popleft()[1]
        self.commits.append((now, length))

    def surviving_bytes(self) -> int:
        """How much of the log a power cut now leaves: what was synced, and what the system has
        written back by itself."""
        old = [size for at, size in self.commits if self.hand.now() - at > WRITEBACK_SECONDS]
        return max(self.synced_bytes, *old, 0)

    def next_due_ms(self) -> int | None:
        """When somebody is due next; asked by the world, not by the worker."""
        due_ms: int | None = self._connection.execute(statements.NEXT_DUE).fetchone()[0]
        return due_ms

    def drop(self) -> None:
        """The process is gone, and with it what it had not committed."""
        if self._connection.in_transaction:
            self._connection.rollback()
        self._connection.close()


class WatchedStore(SqliteStore):
    """Names its verb before each transaction."""

    hand_of_next: Hand

    def __init__(self, database: Database, lock: StateLock | None, clock: Clock) -> None:
        database.__class__ = WatchedDatabase
        assert isinstance(database, WatchedDatabase)
        database.hand = self.hand_of_next
        database.commits = deque()
        database.synced_bytes = wal_bytes(database.path)
        self.watched = database
        super().__init__(database, lock, clock)

    def drop(self) -> None:
        """Closes what a killed process had open, without another line of its own."""
        self.watched.drop()
        if self._lock is not None and self._lock._descriptor is not None:
            os.close(self._lock._descriptor)
            self._lock._descriptor = None


def _named(verb: str) -> Callable[..., Any]:
    original = getattr(SqliteStore, verb)

    async def call(self: WatchedStore, *args: Any, **kwargs: Any) -> Any:
        self.watched.verb = verb
        return await original(self, *args, **kwargs)

    return call


VERBS = ("positions", "apply", "adopt", "sweep", "settle", "recover", "wake", "prune")
for _verb in VERBS:
    setattr(WatchedStore, _verb, _named(_verb))


def _full() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    error.sqlite_errorname = "SQLITE_FULL"
    return error


def wal_bytes(path: str) -> int:
    """The length of the write-ahead log beside a state file."""
    try:
        return os.stat(f"{path}-wal").st_size  # noqa: PTH116  the hot path of a run
    except FileNotFoundError:
        return 0


def cut_power(store: WatchedStore) -> None:
    """Drops the store, and of its log what was not synced."""
    path = Path(store.watched.path)
    log = Path(f"{path}-wal")
    kept, synced = path.read_bytes(), log.read_bytes()[: store.watched.surviving_bytes()]
    store.drop()
    for beside in (log, Path(f"{path}-shm")):
        beside.unlink(missing_ok=True)
    path.write_bytes(kept)
    if synced:
        log.write_bytes(synced)
