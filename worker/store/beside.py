"""Short writes to a state file beside its worker: what people change by hand.

SQLite lets another process write for some milliseconds. It waits for the worker's transactions and
not the other way round, and never takes the worker's lock on the state. What is written is known to
who writes it (silencebook.py, forget.py).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import quote

from worker.errors import StateInUse
from worker.store.connection import check_current, require_file, require_sqlite, translated

LOCK_WAIT_MS = 5_000
"""How long a person's command waits for the worker's transactions."""

LOCK_TRY_MS = 20


@contextmanager
def writing_beside(path: str) -> Iterator[sqlite3.Connection]:
    """One transaction, durable once it is left. It should take a millisecond.

    Raises UsageError when there is no such file, TryLater when a worker has yet to bring it to this
    version, StateInUse when somebody holds its write lock for `LOCK_WAIT_MS`, StateUnwritable,
    StateDamaged, StateTooNew; then nothing was changed.
    """
    with connected_beside(path) as connection:
        _begin(connection, path)
        # A worker of a newer version may have opened the file in the meantime.
        check_current(connection, path)
        try:
            yield connection
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        _sync(path)


@contextmanager
def connected_beside(path: str) -> Iterator[sqlite3.Connection]:
    """A connection that may write, outside of a transaction. Raises as `writing_beside`."""
    require_sqlite()
    require_file(path)
    uri = f"file:{quote(path)}?mode=rw"
    with (
        translated(path),
        closing(
            sqlite3.connect(uri, uri=True, isolation_level=None, timeout=LOCK_TRY_MS / 1_000)
        ) as connection,
    ):
        check_current(connection, path)
        # It is already, but for a copy that no worker has opened yet.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        # Writing the log back is the worker's work: here it would keep the lock longer.
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        yield connection


def _begin(connection: sqlite3.Connection, path: str) -> None:
    """Takes the write lock. A worker that reads a backlog frees it only for moments, and SQLite by
    itself would look again less and less often, so it is asked anew all the time."""
    for _ in range(LOCK_WAIT_MS // LOCK_TRY_MS):
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
        else:
            return
    raise StateInUse(
        f"{path}: its worker kept it locked for {LOCK_WAIT_MS // 1_000} s. Nothing was changed; "
        "try again."
    )


def _sync(path: str) -> None:
    """Makes a commit durable after it, and not in it as `synchronous = FULL` would: a slow disk
    must not keep the worker from its lock. The log is there for as long as we are connected."""
    log = os.open(f"{path}-wal", os.O_RDONLY)
    try:
        os.fsync(log)
    finally:
        os.close(log)
