"""The state file: is it there, private, whole, of this version, with room to grow, and whose."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from worker.clock import SystemClock
from worker.doctor.findings import Finding, fail, ok, unknown, warn
from worker.errors import ComebackError
from worker.store import custody_statements as custody
from worker.store.backup import problems_of
from worker.store.connection import check_ours, translated
from worker.store.lock import holder_of
from worker.store.migrations import SCHEMA_VERSION
from worker.store.reading import STEPS_BETWEEN_CHECKS, open_read_only

PRIVATE = 0o600
FREE_BYTES_MIN = 256 * 1024 * 1024
"""The log alone may take a fourth of it; below, sending stops when the volume is full."""
LOG_BYTES_USUAL = 256 * 1024 * 1024
"""A longer log means that somebody keeps the file open for reading."""
QUICK_CHECK_SECONDS_MAX = 60.0
"""About 30 GiB. While a check reads, the worker's log cannot be cut back."""


def state(path: Path, *, full: bool) -> Iterator[Finding]:
    """All that can be seen of the state file while its worker runs. `full` compares the indexes
    too, however long it takes."""
    folder = Path(os.path.realpath(path)).parent
    if not folder.is_dir():
        todo = "Mount the volume, or set COMEBACK_STATE."
        yield fail("state", f"the folder {folder} is not there", todo)
        return
    if not path.is_file():
        if os.access(folder, os.W_OK):
            yield ok("state", f"{path} is not there yet; the first start makes it")
        else:
            yield fail(
                "state", f"{folder} cannot be written", "Give the folder to the worker's user."
            )
        yield _room(path, folder)
        return
    size = path.stat().st_size
    yield ok("state", f"{path} ({size / 1e6:,.1f} MB)")
    yield _rights(path)
    yield _holder(path)
    yield _room(path, folder)
    yield _log(path)
    yield from _contents(path, full=full)


def _rights(path: Path) -> Finding:
    mode = stat.S_IMODE(path.stat().st_mode)
    if not os.access(path, os.R_OK | os.W_OK):
        todo = "Run this as the user of the worker, or give the file to it."
        return fail("state rights", f"this user may not write it (mode {mode:04o})", todo)
    if mode & ~PRIVATE:
        todo = f"Run `chmod 600 {path}`: it holds addresses."
        return warn("state rights", f"others may open it (mode {mode:04o})", todo)
    return ok("state rights", f"mode {mode:04o}")


def _holder(path: Path) -> Finding:
    holder = holder_of(str(path))
    return ok("state lock", "free, no worker runs on it" if holder is None else f"held by {holder}")


def _room(path: Path, folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    size = path.stat().st_size if path.exists() else 0
    told = f"{free / 1e6:,.0f} MB free on the volume"
    if free < FREE_BYTES_MIN:
        todo = "Enlarge the volume: when it is full, nothing is read and nothing sent."
        return fail("disk", told, todo)
    if free < size:
        todo = "Enlarge the volume: an upgrade or a restore needs room for a second copy."
        return warn("disk", f"{told}, less than the state takes", todo)
    return ok("disk", told)


def _log(path: Path) -> Finding:
    log = Path(f"{path}-wal")
    size = log.stat().st_size if log.exists() else 0
    told = f"{size / 1e6:,.1f} MB"
    if size > LOG_BYTES_USUAL:
        todo = "End what keeps the state open for reading, such as a sqlite3 shell."
        return warn("state log", told, todo)
    return ok("state log", told)


def _contents(path: Path, *, full: bool) -> Iterator[Finding]:
    try:
        with translated(str(path)), closing(open_read_only(str(path))) as connection:
            version = check_ours(connection, str(path))
            yield _schema(version)
            yield _integrity(connection, full=full)
            if version == SCHEMA_VERSION:
                yield from _restored(connection)
    except ComebackError as error:
        yield fail("state contents", "cannot be used", str(error))


def _schema(version: int) -> Finding:
    if version < SCHEMA_VERSION:
        todo = "Make a backup; the next start of the worker brings it up to date, for good."
        return warn("schema", f"version {version}, this comeback writes {SCHEMA_VERSION}", todo)
    return ok("schema", f"version {version}")


def _integrity(connection: sqlite3.Connection, *, full: bool) -> Finding:
    clock = SystemClock()
    begun = clock.monotonic()

    def late() -> bool:
        return not full and clock.monotonic() > begun + QUICK_CHECK_SECONDS_MAX

    connection.set_progress_handler(late, STEPS_BETWEEN_CHECKS)
    try:
        problems = problems_of(connection, full=full)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        found = f"not done in {QUICK_CHECK_SECONDS_MAX:.0f} s"
        return unknown("integrity", found, "Check a copy: `comeback backup` does it by itself.")
    finally:
        connection.set_progress_handler(None, 0)
    kind = "full" if full else "quick"
    if problems:
        todo = "Stop the worker and restore a backup: `comeback restore FILE --force`."
        return fail("integrity", f"{len(problems)} problems, the first: {problems[0]}", todo)
    return ok("integrity", f"{kind} check passed in {clock.monotonic() - begun:,.1f} s")


def _restored(connection: sqlite3.Connection) -> Iterator[Finding]:
    rules = connection.execute(custody.RESTORED).fetchall()
    if rules:
        yield ok(
            "restored",
            f"from a copy; {len(rules)} rules leave alone who may have had their messages before",
        )
    elif connection.execute(custody.RESTORED_UNTOLD).fetchone():
        yield ok("restored", "from a copy; no worker has run on it yet")
