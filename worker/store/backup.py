"""A consistent copy of a state file, made while its worker runs.

The copy is one moment of the state: a read transaction is held for as long as copying takes, so the
worker writes on and waits for nothing. Its log cannot be cut back meanwhile; what it grew by is
written back here, in this process, before the worker would have to do it in one of its commits.

The copy is written beside its name, checked, synced and then renamed: what bears the name is whole.
It is one file of mode 0600 without a log beside it. It holds everything the state holds, addresses
too. Used by `comeback backup` and `comeback restore`.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from worker.errors import StateDamaged, StateUnwritable, UsageError
from worker.ports import Clock
from worker.store import custody_statements as custody
from worker.store.connection import check_ours, damaged, require_file, require_sqlite, translated
from worker.store.migrations import SCHEMA_VERSION
from worker.store.reading import open_read_only

STEP_PAGES = 1_024
"""4 MiB in one step; between steps progress is told."""

BESIDE = ("", "-wal", "-shm", "-journal", ".lock")
"""What belongs to a state file; a copy must be none of them."""

COPIES_SCHEMA_MIN = 3
"""The first schema version whose files say when they were copied."""

PROBLEMS_MAX = 20
"""Lines of an integrity check that are told."""

OnProgress = Callable[[int, int], None]
"""Told after each step: pages done, pages in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """What a copy holds."""

    path: Path
    file_bytes: int
    schema_version: int
    copied_ms: int | None
    """None: it is not known when it was made."""
    users: int
    last_active_ms: int | None
    """The latest activity in it: how far the stream had been read, as events go."""
    shards: int
    """Shards with a position that is not their end."""


def no_progress(done: int, total: int) -> None:
    """The default for `on_progress`."""


def copy_state(
    source: str,
    target: Path,
    *,
    clock: Clock,
    force: bool = False,
    on_progress: OnProgress = no_progress,
) -> Copy:
    """Copies the state file `source` to the new file `target` and checks it.

    Raises UsageError when there is no such state, when `target` exists (unless `force`), or is the
    state itself; StateUnwritable when there is no room; StateDamaged when the state or its copy
    fails the check; StateTooNew. Whatever is raised, a file that bore the name is as it was.
    """
    require_sqlite()
    require_file(source)
    _require_place(source, target, force=force)
    require_room(source, target.parent)
    with private_beside(target) as made:
        with translated(source), closing(open_read_only(source)) as reading:
            check_ours(reading, source)
            reading.execute("BEGIN")  # pins the moment with the first read, which comes next
            version = check_ours(reading, source)
            copied_ms = clock.now_ms()
            with translated(str(target)):
                copy_pages(reading, made, on_progress)
            reading.execute("ROLLBACK")
        _write_log_back(source)
        with translated(str(target)):
            _finish(made, copied_ms if version >= COPIES_SCHEMA_MIN else None)
        copy = _checked(made, source)
        _require_place(source, target, force=force)
        _publish(made, target)
    return replace(copy, path=target)


def inspect_copy(path: Path) -> Copy:
    """Checks a copy and tells what it holds. Reads all of it, about two seconds per GiB.

    Raises UsageError when it is not there, StateDamaged when it is no state file or fails the
    integrity check, StateTooNew when a newer comeback wrote it.
    """
    require_sqlite()
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file. Name a copy `comeback backup` made.")
    with translated(str(path)), closing(open_read_only(str(path))) as connection:
        version = check_ours(connection, str(path))
        if version == 0:
            raise StateDamaged(f"{path}: is empty, no copy of a state. Name another copy.")
        problems = problems_of(connection)
        if problems:
            raise damaged(str(path), f"fails its integrity check ({problems[0]})")
        users, last_active_ms = connection.execute(custody.COUNT_USERS).fetchone()
        copied_ms = None
        if version >= COPIES_SCHEMA_MIN:
            copied_ms = connection.execute(custody.COPIED).fetchone()[0]
        return Copy(
            path=path,
            file_bytes=path.stat().st_size,
            schema_version=version,
            copied_ms=copied_ms,
            users=users,
            last_active_ms=last_active_ms,
            shards=connection.execute(custody.COUNT_POSITIONS).fetchone()[0],
        )


def problems_of(connection: sqlite3.Connection, *, full: bool = False) -> tuple[str, ...]:
    """What SQLite's own check finds; nothing when all is well. `full` compares indexes too."""
    check = "integrity_check" if full else "quick_check"
    rows = connection.execute(f"PRAGMA {check}({PROBLEMS_MAX})").fetchall()
    found = tuple(str(row[0]) for row in rows)
    return () if found == ("ok",) else found


def require_room(source: str, folder: Path) -> None:
    """Raises StateUnwritable when the folder's volume has no room for a copy of `source`."""
    with translated(str(folder)):
        needed = sum(
            os.stat(f"{source}{end}").st_size  # noqa: PTH116  a suffix, not a path of its own
            for end in ("", "-wal")
            if Path(f"{source}{end}").exists()
        )
        free = shutil.disk_usage(folder).free
    if free < needed:
        raise StateUnwritable(
            f"{folder}: a copy of {source} takes up to {needed / 1e6:,.1f} MB, and "
            f"{free / 1e6:,.1f} MB are free. Nothing was written. Free space there, or name a file "
            "on another volume."
        )


def _require_place(source: str, target: Path, *, force: bool) -> None:
    where = os.path.realpath(target)
    if where in {os.path.realpath(f"{source}{end}") for end in BESIDE}:
        raise UsageError(f"{target}: is the state itself. Name another file for the copy.")
    if not target.parent.is_dir():
        raise UsageError(f"{target.parent}: there is no such folder. Make it, or name another.")
    if target.exists() and not force:
        raise UsageError(f"{target}: exists already. Name another file, or add --force.")
    if target.exists() and not stat.S_ISREG(target.stat().st_mode):
        raise UsageError(f"{target}: is no regular file. Name another one.")


@contextmanager
def private_beside(target: Path) -> Iterator[Path]:
    """A new file of mode 0600 in the folder of `target`; gone at the end, unless it was renamed."""
    with translated(str(target)):
        descriptor, name = tempfile.mkstemp(
            dir=target.parent, prefix=f"{target.name}.", suffix=".partial"
        )
        os.close(descriptor)
    try:
        yield Path(name)
    finally:
        for end in BESIDE:
            Path(f"{name}{end}").unlink(missing_ok=True)


def _checked(made: Path, source: str) -> Copy:
    try:
        return inspect_copy(made)
    except StateDamaged as error:
        raise StateDamaged(
            f"{source}: a copy of it fails the integrity check, and was thrown away. Keep the "
            "earlier copies. Run `comeback doctor --full` to see whether the state itself is "
            "damaged; if it is not, the volume of the copy is."
        ) from error


def copy_pages(source: sqlite3.Connection, made: Path, on_progress: OnProgress) -> None:
    """Copies what `source` sees into the file `made`, which is not synced yet."""

    def told(_status: int, remaining: int, total: int) -> None:
        on_progress(total - remaining, total)

    with closing(_connect(made)) as target:
        # A file nobody knows yet needs no way back, and is synced once, at the end.
        target.execute("PRAGMA journal_mode = OFF")
        target.execute("PRAGMA synchronous = OFF")
        source.backup(target, pages=STEP_PAGES, progress=told, sleep=0)


def _write_log_back(source: str) -> None:
    """Copies the log into the file as far as nobody reads it, without a lock the worker needs.
    Where that is not allowed, or somebody else does it, the worker does it as always."""
    uri = f"file:{quote(source)}?mode=rw"
    with (
        suppress(sqlite3.Error),
        closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=0)) as connection,
    ):
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")


def _finish(made: Path, copied_ms: int | None) -> None:
    """One file that needs none beside it, and says when it was made."""
    with closing(_connect(made)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        if copied_ms is not None:
            connection.execute(custody.PUT_COPIED, (copied_ms,))
    sync_file(made)


def _publish(made: Path, target: Path) -> None:
    with translated(str(target)):
        made.replace(target)
        sync_file(target.parent)


def _connect(path: Path) -> sqlite3.Connection:
    uri = f"file:{quote(str(path))}?mode=rw"
    return sqlite3.connect(uri, uri=True, isolation_level=None)


def sync_file(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


assert COPIES_SCHEMA_MIN <= SCHEMA_VERSION
