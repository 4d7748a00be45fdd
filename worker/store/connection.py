"""One SQLite connection to a state file: opened with our settings, checked, migrated, guarded.

Nothing here knows what the tables mean. Every transaction of the writer goes through
`Database.transaction`; errors of SQLite that a person can do something about leave as ours, from
here only. All calls are synchronous and short: nothing awaits inside a transaction, so each one is
atomic for the event loop too.

Durability: a commit with `synchronous=FULL` syncs the whole write-ahead log, so every earlier
NORMAL commit becomes durable with it. Ingest commits NORMAL (lost at a power cut together with its
position, and read again); a sweep commits FULL, before any provider is called.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from worker.errors import (
    ComebackError,
    ConfigurationError,
    StateDamaged,
    StateInUse,
    StateTooNew,
    StateUnwritable,
    TryLater,
    UsageError,
)
from worker.store import bulk_indexes, statements
from worker.store.migrations import APPLICATION_ID, SCHEMA_VERSION, script_from
from worker.store.rights import create_private

IN_MEMORY = ":memory:"

SQLITE_MIN = (3, 37, 0)
"""STRICT tables; RETURNING, UPDATE FROM and generated columns are older."""

BUSY_TIMEOUT_MS = 200
"""How long a transaction waits for somebody else's write lock: a `comeback silence` holds it for
milliseconds, a person with the sqlite3 shell for as long as they like. The event loop stands still
meanwhile."""

CACHE_KIB = 65_536
WAL_CHECKPOINT_PAGES = 4_096
"""16 MiB: the checkpoint inside a commit stays well below 250 ms."""

WAL_BYTES_KEPT = 64 * 1024 * 1024
"""A log that a long reader let grow is cut back to this."""

QUICK_CHECK_BYTES_MAX = 200 * 1024 * 1024
"""Larger files are not checked at start: it takes about two seconds per GiB."""

_UNWRITABLE = frozenset(
    {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}
)
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_IN_USE = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


class Database:
    """The writer's connection. The caller holds the file's lock."""

    def __init__(self, path: str, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._durable: bool | None = None
        self._closed = False

    @classmethod
    def open(cls, path: str) -> Database:
        """Opens the file, creating or migrating it as needed.

        Raises StateDamaged, StateTooNew, StateUnwritable.
        """
        require_sqlite()
        with translated(path):
            if path != IN_MEMORY:
                create_private(path)
            connection = sqlite3.connect(path, isolation_level=None, cached_statements=256)
            try:
                check_ours(connection, path)
                _configure(connection, path)
                _migrate(connection)
                _quick_check(connection, path)
                bulk_indexes.make(connection)
                for table in statements.TEMPORARY_TABLES:
                    connection.execute(table)
            except BaseException:
                connection.close()
                raise
        return cls(path, connection)

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """All or nothing. With `durable` it survives a power cut once this returns.

        Raises StateUnwritable, StateInUse or StateDamaged; afterwards nothing has changed and the
        next transaction may be tried. A broken constraint is a bug: AssertionError.
        """
        with translated(self.path):
            if durable is not self._durable:
                # SQLite refuses to change this inside a transaction.
                self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                self._durable = durable
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            finally:
                # Not after a commit; and a full disk may have rolled back already.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """One moment of the state, to read only; takes no lock and waits for nobody.

        Raises StateUnwritable, StateInUse or StateDamaged.
        """
        with translated(self.path):
            self._connection.execute("BEGIN")
            try:
                yield self._connection
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    @contextmanager
    def outside(self) -> Iterator[sqlite3.Connection | None]:
        """The connection without a transaction, for what SQLite does only so; None: it is closed.

        Raises StateUnwritable, StateInUse or StateDamaged.
        """
        with translated(self.path):
            yield None if self._closed else self._connection

    def foreign_version(self) -> int:
        """Changes when another connection has changed the file; takes microseconds."""
        with translated(self.path):
            version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
            return version

    def close(self) -> None:
        """Writes the log back into the file and closes it; a second call does nothing."""
        with translated(self.path):
            try:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.ProgrammingError:
                return  # closed before
            finally:
                self._closed = True
                self._connection.close()


def want(connection: sqlite3.Connection, keys: Iterable[str]) -> None:
    """Fills the `wanted` table the statements join with.

    Bound one by one and not as one JSON parameter: SQLite ends a JSON string at \\u0000, and a
    user id may hold one.
    """
    connection.execute(statements.WANT_NOTHING)
    connection.executemany(statements.WANT, ((key,) for key in keys))


def require_sqlite() -> None:
    """Raises ConfigurationError when the SQLite of this Python is too old."""
    if sqlite3.sqlite_version_info < SQLITE_MIN:
        needed = ".".join(map(str, SQLITE_MIN))
        raise ConfigurationError(
            f"This Python uses SQLite {sqlite3.sqlite_version}; comeback needs {needed} or newer. "
            "Use the container image, or a Python built with a newer SQLite."
        )


def check_ours(connection: sqlite3.Connection, path: str) -> int:
    """The schema version of the file, 0 for an empty one. Raises StateDamaged, StateTooNew."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    application: int = connection.execute("PRAGMA application_id").fetchone()[0]
    tables: int = connection.execute(statements.COUNT_TABLES).fetchone()[0]
    if tables and application != APPLICATION_ID:
        raise StateDamaged(
            f"{path}: is the SQLite database of another program (application id {application:#x}). "
            "Set the state path to a file of comeback, or to one that does not exist yet."
        )
    if version > SCHEMA_VERSION:
        raise StateTooNew(
            f"{path}: was written by a newer comeback (schema version {version}; this one knows up "
            f"to {SCHEMA_VERSION}). Run that version or a later one, or restore a copy of the file "
            "from before the upgrade."
        )
    return version


def check_current(connection: sqlite3.Connection, path: str) -> None:
    """The file must be of this version of comeback. Raises StateDamaged, StateTooNew, and TryLater
    when a worker has yet to bring it up to date."""
    version = check_ours(connection, path)
    if version < SCHEMA_VERSION:
        raise TryLater(
            f"{path}: has schema version {version}, this comeback reads version "
            f"{SCHEMA_VERSION}. Start its worker once; it brings the file up to date."
        )


def require_file(path: str) -> None:
    """Raises UsageError when there is no state file: only the worker makes one."""
    if not Path(path).is_file():
        raise UsageError(
            f"{path}: there is no state file here. Name the one the worker uses, or start the "
            "worker once to make it."
        )


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Errors of SQLite and of the file system leave as ours, with their cause."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise AssertionError(f"{path}: a constraint of the schema was broken: {error}") from error
    except sqlite3.Error as error:
        ours = _translation(path, error)
        if ours is None:
            raise
        raise ours from error
    except OSError as error:
        raise StateUnwritable(f"{path}: {error.strerror}. {_FREE_IT}") from error


_FREE_IT = (
    "The last change was rolled back and nothing is lost. Free space on the volume, or make the "
    "file and its folder writable for this user; comeback goes on by itself when it can write."
)


def damaged(path: str, found: str) -> StateDamaged:
    """The error for a file that cannot be trusted."""
    return StateDamaged(
        f"{path}: {found}. Stop comeback and put a backup in its place: `comeback restore --force "
        "FILE` keeps this file aside, and reading goes on from the position in the backup. Without "
        "one move this file and those beside it (-wal, -shm, .lock) aside and start with none: "
        "recency is rebuilt from what the stream still holds, but who was already sent what is "
        "forgotten."
    )


def _translation(path: str, error: sqlite3.Error) -> ComebackError | None:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF
    if code in _UNWRITABLE:
        return StateUnwritable(f"{path}: cannot be written ({error}). {_FREE_IT}")
    if code in _DAMAGED:
        return damaged(path, f"is not a usable database ({error})")
    if code in _IN_USE:
        return StateInUse(
            f"{path}: another program is writing to it ({error}). End that program's transaction; "
            "read the state with comeback's own commands, which never write."
        )
    return None


def _configure(connection: sqlite3.Connection, path: str) -> None:
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal" and path != IN_MEMORY:
        raise StateUnwritable(
            f"{path}: this file system cannot hold a write-ahead log (SQLite chose {mode!r}). "
            "Put the state on a local or block volume, not on a network file system."
        )
    connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_CHECKPOINT_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_KEPT}")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("PRAGMA foreign_keys = ON")


def _migrate(connection: sqlite3.Connection) -> None:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == SCHEMA_VERSION:
        return
    try:
        connection.executescript(script_from(version))
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _quick_check(connection: sqlite3.Connection, path: str) -> None:
    if path == IN_MEMORY or Path(path).stat().st_size > QUICK_CHECK_BYTES_MAX:
        return
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise damaged(path, f"fails its integrity check ({found})")
