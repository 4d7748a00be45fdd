"""One process per state file: an exclusive `flock` beside it, and the standby that waits for it.

The kernel frees the lock when its holder ends, however it ends; the text in the lock file only says
who holds it. The file itself is never removed, or two processes could lock two files of one name.
Works on local and block volumes; network file systems are not supported (ARCHITECTURE.md).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from datetime import UTC, datetime
from errno import EACCES, EISDIR, ENOENT, ENOTDIR, EPERM, EROFS

from worker.errors import SettingsError, StateInUse, StateUnwritable
from worker.model import SECOND_MS
from worker.ports import Clock
from worker.store.rights import open_private

LOCK_POLL_SECONDS = 1.0

MADE = "A state was made here.\n"
"""First line of a lock file, from the day on when its state file was first opened."""

HOLDER_BYTES_MAX = 512

MISPLACED = frozenset({EACCES, EISDIR, ENOENT, ENOTDIR, EPERM, EROFS})
"""What only somebody who changes the set-up can mend."""


class StateLock:
    """The lock of one state file, held from `acquire` until `release` or the end of the process."""

    def __init__(self, descriptor: int, path: str) -> None:
        self._descriptor: int | None = descriptor
        self.path = path
        self.made = _is_made(descriptor)
        """Was there ever a state file to this lock?"""

    @classmethod
    async def acquire(
        cls, state_path: str, *, wait: bool, clock: Clock, on_wait: Callable[[str], None]
    ) -> StateLock:
        """Takes `<state_path>.lock`, symbolic links resolved.

        When another process holds it: raises StateInUse, or with `wait` calls `on_wait(holder)`
        once and looks again every `LOCK_POLL_SECONDS`. Raises SettingsError when the folder is not
        there or not ours, StateUnwritable when the disk is in trouble.
        """
        path = _lock_path(state_path)
        try:
            descriptor = open_private(path)
        except OSError as error:
            problem = SettingsError if error.errno in MISPLACED else StateUnwritable
            raise problem(
                f"{path}: cannot be opened for writing ({error.strerror}). The folder of the state "
                "file must exist and belong to this user; mount the volume, or set COMEBACK_STATE."
            ) from error
        try:
            if not _try_lock(descriptor):
                await _queue(state_path, descriptor, wait=wait, clock=clock, on_wait=on_wait)
            _sign(descriptor, clock.now_ms())
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor, path)

    def remember(self) -> None:
        """From now on, and for every process after this one, the state file was made. Durable.
        Raises OSError."""
        if self.made or self._descriptor is None:
            return
        _write(self._descriptor, MADE + _holder(self._descriptor) + "\n")
        os.fsync(self._descriptor)
        self.made = True

    def release(self) -> None:
        """Frees the lock; a second call does nothing."""
        if self._descriptor is not None:
            _write(self._descriptor, MADE if self.made else "")
            os.close(self._descriptor)
            self._descriptor = None


def holder_of(state_path: str) -> str | None:
    """Who holds the lock of a state file; None when nobody does, or nobody ever did. Looks without
    taking it: a process that starts in this moment is not turned away for long."""
    try:
        descriptor = os.open(_lock_path(state_path), os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(descriptor)
    finally:
        os.close(descriptor)
    return None


async def _queue(
    state_path: str,
    descriptor: int,
    *,
    wait: bool,
    clock: Clock,
    on_wait: Callable[[str], None],
) -> None:
    holder = _holder(descriptor)
    if not wait:
        raise StateInUse(
            f"{state_path}: in use by {holder}. Stop that process first, or start this one as a "
            "standby; the lock frees itself when its holder ends."
        )
    on_wait(holder)
    while not _try_lock(descriptor):
        await clock.sleep(LOCK_POLL_SECONDS)


def _lock_path(state_path: str) -> str:
    """Two names of one file must not be two locks."""
    return f"{os.path.realpath(state_path)}.lock"


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(descriptor: int) -> str:
    text = os.pread(descriptor, HOLDER_BYTES_MAX, 0).decode("utf-8", "replace")
    return text.removeprefix(MADE).strip() or "another process"


def _is_made(descriptor: int) -> bool:
    return os.pread(descriptor, len(MADE), 0) == MADE.encode()


def _write(descriptor: int, text: str) -> None:
    """Overwrites, then shortens: a crash in between must not lose the first line."""
    data = text.encode()
    os.pwrite(descriptor, data, 0)
    os.ftruncate(descriptor, len(data))


def _sign(descriptor: int, now_ms: int) -> None:
    since = datetime.fromtimestamp(now_ms // SECOND_MS, UTC).isoformat()
    text = f"pid {os.getpid()} on {os.uname().nodename} since {since}\n"
    _write(descriptor, (MADE if _is_made(descriptor) else "") + text)
